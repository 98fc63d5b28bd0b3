package mptcp

import "testing"

var prioWire = []wire{
	{name: "regular", hex: "1e03 50", opt: Option{Subtype: MPPrio}},
	{name: "backup", hex: "1e03 51", opt: Option{Subtype: MPPrio, Prio: Prio{Backup: true}}},
}

func TestPrio(t *testing.T) {
	testWire(t, prioWire)
	testRefused(t, MPPrio, map[string]string{"version 0's, with an address ID": "1e04 51 05"})
}
