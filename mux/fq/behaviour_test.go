package fq

import "testing"

func TestSeesQUIC(t *testing.T) {
	for _, c := range []struct {
		name    string
		payload []byte
		want    bool
	}{
		{"initial, version 1", []byte{0xC3, 0, 0, 0, 1, 8, 1}, true},
		{"version 2", []byte{0xD3, 0x6b, 0x33, 0x43, 0xcf, 8, 1}, true},
		{"draft 29", []byte{0xC3, 0xff, 0, 0, 29, 8, 1}, true},
		{"short header alone", []byte{0x43, 0, 0, 0, 1, 8, 1}, false},
		{"other protocol", []byte{0xC3, 1, 2, 3, 4, 5, 6}, false},
		{"RTP", []byte{0x80, 0x60, 0, 1, 0, 0, 0}, false},
		{"short", []byte{0xC3, 0, 0, 0, 1}, false},
		{"empty", nil, false},
	} {
		var b Behaviour
		if b.See(c.payload); b.QUIC != c.want {
			t.Errorf("%s: %v", c.name, b.QUIC)
		}
	}
}
