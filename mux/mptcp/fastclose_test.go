package mptcp

import "testing"

var fastCloseWire = []wire{
	{
		name: "MP_FASTCLOSE", hex: "1e0c 70 00 1122334455667788",
		opt: Option{Subtype: MPFastClose, FastClose: FastClose{Receiver: 0x1122334455667788}},
	},
}

func TestFastClose(t *testing.T) {
	testWire(t, fastCloseWire)
	testRefused(t, MPFastClose, map[string]string{"length 3": "1e03 70", "length 13": "1e0d 70 00 1122334455667788 00"})
}
