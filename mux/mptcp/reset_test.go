package mptcp

import "testing"

var resetWire = []wire{
	{name: "final", hex: "1e04 80 03", opt: Option{Subtype: MPTCPRst, Reset: Reset{Reason: ReasonProhibited}}},
	{
		name: "transient", hex: "1e04 81 02",
		opt: Option{Subtype: MPTCPRst, Reset: Reset{Transient: true, Reason: ReasonResources}},
	},
	{name: "unknown reason", hex: "1e04 80 fe", opt: Option{Subtype: MPTCPRst, Reset: Reset{Reason: 254}}},
}

func TestReset(t *testing.T) {
	testWire(t, resetWire)
	testRefused(t, MPTCPRst, map[string]string{"length 3": "1e03 80", "length 5": "1e05 80 03 00"})
	if got := ReasonMiddlebox.String() + ", " + Reason(254).String(); got != "middlebox interference, reason 254" {
		t.Error(got)
	}
}
