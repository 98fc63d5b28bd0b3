package mptcp

import (
	"errors"
	"testing"
)

var dssWire = []wire{
	{name: "nothing", hex: "1e04 20 00", opt: Option{Subtype: MPDSS}},
	{
		name: "4-byte ack", hex: "1e08 20 01 89abcdef",
		opt: Option{Subtype: MPDSS, DSS: DSS{HasAck: true, Ack: 0x89abcdef}},
	},
	{
		name: "8-byte ack", hex: "1e0c 20 03 0123456789abcdef", checksum: true,
		opt: Option{Subtype: MPDSS, DSS: DSS{HasAck: true, Ack8: true, Ack: 0x0123456789abcdef}},
	},
	{
		name: "4-byte mapping", hex: "1e0e 20 04 89abcdef 00000001 ffff",
		opt: Option{Subtype: MPDSS, DSS: DSS{HasMap: true, DSN: 0x89abcdef, SSN: 1, Length: 65535}},
	},
	{
		name: "8-byte mapping", hex: "1e12 20 0c 0123456789abcdef 00000001 0578",
		opt: Option{Subtype: MPDSS, DSS: DSS{HasMap: true, DSN8: true, DSN: 0x0123456789abcdef, SSN: 1, Length: 1400}},
	},
	{
		name: "ack and mapping of a packet", hex: "1e1a 20 0f 8877665544332211 0123456789abcdef f0000001 0578",
		opt: Option{Subtype: MPDSS, DSS: DSS{
			HasAck: true, Ack8: true, Ack: 0x8877665544332211,
			HasMap: true, DSN8: true, DSN: 0x0123456789abcdef, SSN: 0xf0000001, Length: 1400,
		}},
	},
	{
		name: "4-byte ack, 8-byte mapping", hex: "1e16 20 0d 44332211 0123456789abcdef f0000001 0578",
		opt: Option{Subtype: MPDSS, DSS: DSS{
			HasAck: true, Ack: 0x44332211, HasMap: true, DSN8: true, DSN: 0x0123456789abcdef, SSN: 0xf0000001, Length: 1400,
		}},
	},
	{
		name: "8-byte ack, 4-byte mapping, checksum", hex: "1e18 20 07 8877665544332211 89abcdef f0000001 0578 5cd0",
		checksum: true,
		opt: Option{Subtype: MPDSS, DSS: DSS{
			HasAck: true, Ack8: true, Ack: 0x8877665544332211, HasMap: true, DSN: 0x89abcdef, SSN: 0xf0000001, Length: 1400,
			HasChecksum: true, Checksum: 0x5cd0,
		}},
	},
	{
		name: "the longest", hex: "1e1c 20 1f 8877665544332211 0123456789abcdef f0000001 0578 5cd0", checksum: true,
		opt: Option{Subtype: MPDSS, DSS: DSS{
			HasAck: true, Ack8: true, Ack: 0x8877665544332211,
			HasMap: true, DSN8: true, DSN: 0x0123456789abcdef, SSN: 0xf0000001, Length: 1400,
			DataFIN: true, HasChecksum: true, Checksum: 0x5cd0,
		}},
	},
	{
		name: "DATA_FIN alone", hex: "1e1a 20 1f 8877665544332211 0123456789abcdef 00000000 0001",
		opt: Option{Subtype: MPDSS, DSS: DSS{
			HasAck: true, Ack8: true, Ack: 0x8877665544332211,
			HasMap: true, DSN8: true, DSN: 0x0123456789abcdef, Length: 1, DataFIN: true,
		}},
	},
	{
		name: "infinite mapping", hex: "1e12 20 0c 0123456789abcdef 00000001 0000",
		opt: Option{Subtype: MPDSS, DSS: DSS{HasMap: true, DSN8: true, DSN: 0x0123456789abcdef, SSN: 1}},
	},
}

func TestDSS(t *testing.T) {
	testWire(t, dssWire)
	testRefused(t, MPDSS, map[string]string{
		"length 3":                    "1e03 20",
		"ack cut":                     "1e07 20 01 89abcd",
		"checksum that was not asked": "1e10 20 04 89abcdef 00000001 ffff 5cd0",
		"too long":                    "1e1d 20 1f 8877665544332211 0123456789abcdef f0000001 0578 5cd0 00",
		"DATA_FIN without mapping":    "1e08 20 11 89abcdef",
		"DATA_FIN covering nothing":   "1e0e 20 14 89abcdef 00000001 0000",
	})
	var o Option
	if _, err := o.Parse(unhex(t, "1e1a 20 0f 8877665544332211 0123456789abcdef f0000001 0578"), true); err == nil {
		t.Error("a mapping without the negotiated checksum was taken")
	} else if _, ok := errors.AsType[*Error](err); !ok {
		t.Error(err)
	}
	// Size flags of absent fields and reserved bits say nothing (Section 3.3).
	if n, err := o.Parse(unhex(t, "1e08 2f eb 89abcdef 00"), false); err == nil {
		t.Errorf("8-byte ack in 4 bytes was taken: %d", n)
	}
	if n, err := o.Parse(unhex(t, "1e08 2f e9 89abcdef"), false); n != 8 || err != nil || o.DSS != (DSS{HasAck: true, Ack: 0x89abcdef}) {
		t.Errorf("Parse with reserved bits = %d, %v, %+v", n, err, o.DSS)
	}
}

func TestPayloadLen(t *testing.T) {
	for _, c := range []struct {
		dss  DSS
		want int
	}{
		{DSS{HasAck: true, Length: 9}, 0},
		{DSS{HasMap: true, Length: 65535}, 65535},
		{DSS{HasMap: true, Length: 1, DataFIN: true}, 0},
		{DSS{HasMap: true, Length: 101, DataFIN: true}, 100},
		{DSS{HasMap: true}, 0},
	} {
		if got := c.dss.PayloadLen(); got != c.want {
			t.Errorf("%+v: %d, want %d", c.dss, got, c.want)
		}
	}
}

func TestExpand(t *testing.T) {
	for _, c := range []struct {
		expected uint64
		low      uint32
		want     uint64
	}{
		{0x1_00000000, 0, 0x1_00000000},
		{0x1_00000005, 0xFFFFFFFF, 0x0_FFFFFFFF},
		{0x1_FFFFFFF0, 0x10, 0x2_00000010},
		{0x1_7FFFFFFF, 0x80000000, 0x1_80000000},
		{0xFFFFFFFF_FFFFFFFE, 3, 3},
		{1, 0xFFFFFFFE, 0xFFFFFFFF_FFFFFFFE},
	} {
		if got := Expand(c.expected, c.low); got != c.want {
			t.Errorf("Expand(%x, %x) = %x, want %x", c.expected, c.low, got, c.want)
		}
	}
}

// packetDSS is what stands in front of nearly every packet.
var packetDSS = DSS{
	HasAck: true, Ack8: true, Ack: 1 << 40, HasMap: true, DSN8: true, DSN: 1 << 41, SSN: 77, Length: 1228,
}

func TestDSSAllocs(t *testing.T) {
	b := make([]byte, 0, MaxDSSLen)
	var o Option
	withChecksum := packetDSS
	withChecksum.HasChecksum = true
	if n := testing.AllocsPerRun(100, func() {
		for _, d := range []*DSS{&packetDSS, &withChecksum} {
			b = d.Append(b[:0])
			if _, err := o.Parse(b, d.HasChecksum); err != nil {
				t.Fatal(err)
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkDSSAppend(b *testing.B) {
	room := make([]byte, 0, MaxDSSLen)
	d := packetDSS
	for b.Loop() {
		d.DSN++
		room = d.Append(room[:0])
	}
}

func BenchmarkDSSParse(b *testing.B) {
	var o Option
	wire := packetDSS.Append(nil)
	for b.Loop() {
		if _, err := o.Parse(wire, false); err != nil {
			b.Fatal(err)
		}
	}
}
