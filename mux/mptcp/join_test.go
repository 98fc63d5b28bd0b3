package mptcp

import "testing"

var joinWire = []wire{
	{
		name: "SYN", hex: "1e0c 10 05 1dce6604 0a0b0c0d",
		opt: Option{Subtype: MPJoin, Join: Join{AddrID: 5, Token: 0x1dce6604, Nonce: 0x0a0b0c0d}},
	},
	{
		name: "SYN, backup", hex: "1e0c 11 00 1dce6604 0a0b0c0d",
		opt: Option{Subtype: MPJoin, Join: Join{Backup: true, Token: 0x1dce6604, Nonce: 0x0a0b0c0d}},
	},
	{
		name: "SYN/ACK", hex: "1e10 11 09 f7da89b7fdc09637 1a1b1c1d",
		opt: Option{Subtype: MPJoin, Join: Join{
			Phase: PhaseSYNACK, Backup: true, AddrID: 9, Nonce: 0x1a1b1c1d,
			HMAC: [20]byte{0xf7, 0xda, 0x89, 0xb7, 0xfd, 0xc0, 0x96, 0x37},
		}},
	},
	{
		name: "ACK", hex: "1e18 10 00 95803649518b7775303280a8fab379af180801b4",
		opt: Option{Subtype: MPJoin, Join: Join{
			Phase: PhaseACK,
			HMAC: [20]byte{
				0x95, 0x80, 0x36, 0x49, 0x51, 0x8b, 0x77, 0x75, 0x30, 0x32,
				0x80, 0xa8, 0xfa, 0xb3, 0x79, 0xaf, 0x18, 0x08, 0x01, 0xb4,
			},
		}},
	},
}

func TestJoin(t *testing.T) {
	testWire(t, joinWire)
	testRefused(t, MPJoin, map[string]string{
		"length 3":  "1e03 10",
		"length 4":  "1e04 10 00",
		"length 13": "1e0d 10 05 1dce6604 0a0b0c0d 00",
	})
}
