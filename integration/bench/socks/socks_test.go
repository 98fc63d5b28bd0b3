package socks

import (
	"bytes"
	"net/netip"
	"testing"
)

func TestAppendAddress(t *testing.T) {
	for _, tc := range []struct {
		dst  string
		want []byte
	}{
		{"1.2.3.4:258", []byte{1, 1, 2, 3, 4, 1, 2}},
		{"[::1]:1", append(append([]byte{4}, netip.IPv6Loopback().AsSlice()...), 0, 1)},
		{"a.b:80", []byte{3, 3, 'a', '.', 'b', 0, 80}},
		{"a.b", nil},
		{"a.b:65536", nil},
	} {
		got, err := AppendAddress(nil, tc.dst)
		if (err != nil) != (tc.want == nil) || err == nil && !bytes.Equal(got, tc.want) {
			t.Errorf("%s: % x, %v, want % x", tc.dst, got, err, tc.want)
		}
	}
}

func FuzzParseDatagram(f *testing.F) {
	for _, dst := range []string{"1.2.3.4:5", "[::1]:5"} {
		b, err := AppendDatagram(nil, dst, []byte("payload"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		source, payload, err := ParseDatagram(b)
		if err != nil {
			return
		}
		again, err := AppendDatagram(nil, source.String(), payload)
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("% x became % x, %v", b, again, err)
		}
	})
}
