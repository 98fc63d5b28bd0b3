package mptcp

import "testing"

var capableWire = []wire{
	{name: "SYN", hex: "1e04 01 01", opt: Option{Capable: Capable{Version: 1, Flags: FlagSHA256}}},
	{name: "SYN, version 0, all flags", hex: "1e04 00 ff", opt: Option{Capable: Capable{Flags: 0xFF}}},
	{
		name: "SYN/ACK", hex: "1e0c 01 81 0102030405060708",
		opt: Option{Capable: Capable{
			Phase: PhaseSYNACK, Version: 1, Flags: FlagChecksum | FlagSHA256, Sender: 0x0102030405060708,
		}},
	},
	{
		name: "ACK", hex: "1e14 01 21 1122334455667788 0102030405060708",
		opt: Option{Capable: Capable{
			Phase: PhaseACK, Version: 1, Flags: FlagDenyJoin | FlagSHA256, Sender: 0x1122334455667788, Receiver: 0x0102030405060708,
		}},
	},
	{
		name: "ACK with data", hex: "1e16 01 01 1122334455667788 0102030405060708 05dc",
		opt: Option{Capable: Capable{
			Phase: PhaseACKData, Version: 1, Flags: FlagSHA256, Sender: 0x1122334455667788, Receiver: 0x0102030405060708,
			Length: 1500,
		}},
	},
	{
		name: "ACK with data and checksum", hex: "1e18 01 81 1122334455667788 0102030405060708 05dc beef",
		opt: Option{Capable: Capable{
			Phase: PhaseACKData, Version: 1, Flags: FlagChecksum | FlagSHA256, Sender: 0x1122334455667788,
			Receiver: 0x0102030405060708, Length: 1500, HasChecksum: true, Checksum: 0xBEEF,
		}},
	},
}

func TestCapable(t *testing.T) {
	testWire(t, capableWire)
	testRefused(t, MPCapable, map[string]string{
		"length 3":  "1e03 01",
		"length 8":  "1e08 01 01 00000000",
		"length 21": "1e15 01 01 1122334455667788 0102030405060708 05",
	})
}
