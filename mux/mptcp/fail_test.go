package mptcp

import "testing"

var failWire = []wire{
	{name: "MP_FAIL", hex: "1e0c 60 00 0123456789abcdef", opt: Option{Subtype: MPFail, Fail: Fail{DSN: 0x0123456789abcdef}}},
}

func TestFail(t *testing.T) {
	testWire(t, failWire)
	testRefused(t, MPFail, map[string]string{"length 3": "1e03 60", "length 8": "1e08 60 00 01234567"})
}
