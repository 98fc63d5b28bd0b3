package mptcp

import "testing"

var experimentalWire = []wire{
	{name: "empty", hex: "1e04 f0 01", opt: Option{Subtype: MPExperimental, Experimental: Experimental{Type: 1}}},
	{
		name: "payload, both flags", hex: "1e07 f3 02 aabbcc",
		opt: Option{Subtype: MPExperimental, Experimental: Experimental{
			Echo: true, Unknown: true, Type: 2, N: 3, Data: [MaxExperimental]byte{0xAA, 0xBB, 0xCC},
		}},
	},
	{
		name: "the longest", hex: "1e28 f2 02 01" + "0000000000 0000000000 0000000000 0000000000 0000000000 0000000000 00000000 09",
		opt: Option{Subtype: MPExperimental, Experimental: Experimental{
			Echo: true, Type: 2, N: MaxExperimental, Data: [MaxExperimental]byte{0: 1, 35: 9},
		}},
	},
}

func TestExperimental(t *testing.T) {
	testWire(t, experimentalWire)
	testRefused(t, MPExperimental, map[string]string{"no type": "1e03 f0"})
	var x Experimental
	x.SetPayload([]byte("ping"))
	if string(x.Payload()) != "ping" {
		t.Errorf("payload %q", x.Payload())
	}
}
