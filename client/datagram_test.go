package client

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"testing"

	"github.com/txthinking/socks5"
)

func TestParseHeader(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   []byte
		n    int
		to   string
		host string
		frag uint8
		err  error
	}{
		{name: "v4", in: []byte{0, 0, 0, 1, 192, 0, 2, 1, 0, 53, 'x'}, n: 10, to: "192.0.2.1:53"},
		{name: "v4 empty payload", in: []byte{0, 0, 0, 1, 192, 0, 2, 1, 0, 53}, n: 10, to: "192.0.2.1:53"},
		{name: "v4 fragment", in: []byte{0, 0, 0x82, 1, 192, 0, 2, 1, 0, 53, 'x'}, n: 10, to: "192.0.2.1:53", frag: 0x82},
		{name: "rsv", in: []byte{1, 2, 0, 1, 192, 0, 2, 1, 0, 53, 'x'}, n: 10, to: "192.0.2.1:53"},
		{name: "v6", in: append([]byte{0, 0, 0, 4, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0}, 'x'), n: 22, to: "[2001:db8::1]:256"},
		{name: "mapped", in: []byte{0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 1, 0, 7}, n: 22, to: "10.0.0.1:7"},
		{name: "domain", in: []byte{0, 0, 0, 3, 3, 'a', '.', 'b', 0, 80, 'x'}, n: 10, to: "invalid AddrPort", host: "a.b"},
		{name: "nothing", in: nil, err: errHeaderShort},
		{name: "short", in: []byte{0, 0, 0}, err: errHeaderShort},
		{name: "v4 short", in: []byte{0, 0, 0, 1, 1, 2, 3, 4, 5}, err: errHeaderShort},
		{name: "v6 short", in: append([]byte{0, 0, 0, 4}, make([]byte, 17)...), err: errHeaderShort},
		{name: "domain without length", in: []byte{0, 0, 0, 3}, err: errHeaderShort},
		{name: "domain short", in: []byte{0, 0, 0, 3, 3, 'a', '.', 'b', 0}, err: errHeaderShort},
		{name: "domain empty", in: []byte{0, 0, 0, 3, 0, 0, 53, 'x'}, err: errHeaderName},
		{name: "type", in: []byte{0, 0, 0, 2, 1, 2, 3, 4, 5, 6}, err: errHeaderType},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var h header
			n, err := parseHeader(tt.in, &h)
			if !errors.Is(err, tt.err) || n != tt.n {
				t.Fatalf("%d, %v, want %d, %v", n, err, tt.n, tt.err)
			}
			if err == nil && (h.to.String() != tt.to || string(h.host) != tt.host || h.frag != tt.frag) {
				t.Errorf("%+v", h)
			}
		})
	}
}

func TestPutHeader(t *testing.T) {
	for _, from := range []string{"192.0.2.1:53", "[2001:db8::1]:65535"} {
		want := netip.MustParseAddrPort(from)
		b := bytes.Repeat([]byte{0xff}, headerLen(want.Addr()))
		putHeader(b, want)
		var h header
		n, err := parseHeader(b, &h)
		if err != nil || n != len(b) || h.to != want || b[0] != 0 || b[1] != 0 || h.frag != 0 {
			t.Errorf("%s: % x gives %d, %+v, %v", from, b, n, h, err)
		}
	}
}

// FuzzHeader holds the parser against txthinking's: the same answer on every
// input but the empty payload, which is legal and which that one refuses.
func FuzzHeader(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 192, 0, 2, 1, 0, 53, 'x'})
	f.Add([]byte{0, 0, 0, 3, 3, 'a', '.', 'b', 0, 80, 'x'})
	f.Add(append([]byte{0, 0, 0, 4}, make([]byte, 19)...))
	f.Add([]byte{0, 0, 0, 1, 192, 0, 2, 1, 0, 53})
	f.Fuzz(func(t *testing.T, b []byte) {
		var h header
		n, err := parseHeader(b, &h)
		d, theirs := socks5.NewDatagramFromBytes(b)
		if err == nil && n == len(b) {
			if d, theirs = socks5.NewDatagramFromBytes(append(b[:n:n], 'x')); theirs == nil {
				d.Data = nil
			}
		}
		if (err == nil) != (theirs == nil) {
			t.Fatalf("% x: %v, theirs %v", b, err, theirs)
		}
		if err != nil {
			return
		}
		if h.frag != d.Frag || h.to.Port() != binary.BigEndian.Uint16(d.DstPort) || !bytes.Equal(b[n:], d.Data) {
			t.Fatalf("% x: %+v, theirs %+v", b, h, d)
		}
		if d.Atyp == socks5.ATYPDomain {
			if string(h.host) != string(d.DstAddr[1:]) || h.to.Addr().IsValid() {
				t.Fatalf("% x: %+v, theirs %+v", b, h, d)
			}
		} else if h.host != nil || !net.IP(h.to.Addr().AsSlice()).Equal(net.IP(d.DstAddr)) {
			t.Fatalf("% x: %+v, theirs %+v", b, h, d)
		}
	})
}
