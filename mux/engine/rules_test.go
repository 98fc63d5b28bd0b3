package engine

import (
	"net/netip"
	"testing"

	"github.com/mpsocks/mpsocks/mux/fq"
	"github.com/mpsocks/mpsocks/mux/packet"
)

func TestRules(t *testing.T) {
	far := netip.MustParseAddr("203.0.113.7").As16()
	voice := Rule{User: "ann", To: netip.MustParsePrefix("203.0.113.0/24"), Ports: [2]uint16{1000, 2000}, DSCP: 46, Class: fq.ClassLatency}
	for _, c := range []struct {
		name  string
		user  string
		port  uint16
		tos   uint8
		tweak func(*Rule)
		want  bool
	}{
		{"all of it", "ann", 1500, 46 << 2, nil, true},
		{"ECN is no part of the code point", "ann", 1500, 46<<2 | 3, nil, true},
		{"the first port", "ann", 1000, 46 << 2, nil, true},
		{"the last port", "ann", 2000, 46 << 2, nil, true},
		{"a port below", "ann", 999, 46 << 2, nil, false},
		{"a port above", "ann", 2001, 46 << 2, nil, false},
		{"another user", "bob", 1500, 46 << 2, nil, false},
		{"no user", "", 1500, 46 << 2, nil, false},
		{"another code point", "ann", 1500, 0, nil, false},
		{"another network", "ann", 1500, 46 << 2, func(r *Rule) { r.To = netip.MustParsePrefix("198.51.100.0/24") }, false},
		{"everything", "", 1, 0, func(r *Rule) { *r = Rule{DSCP: -1} }, true},
	} {
		r := voice
		if c.tweak != nil {
			c.tweak(&r)
		}
		if r.match(c.user, far, c.port, c.tos) != c.want {
			t.Errorf("%s: match is %v", c.name, !c.want)
		}
	}
}

// The first rule that matches counts, for what a far end gets on the client and
// for what it sends on the server; and no rule is for streams, which all go to the
// same address inside the tunnel.
func TestRulesOfFlows(t *testing.T) {
	far, inner := netip.MustParseAddrPort("203.0.113.7:1080"), netip.AddrPortFrom(packet.ClientHost4, 5000)
	rules := []Rule{
		{User: "bob", DSCP: -1, Class: fq.ClassLatency},
		{Ports: [2]uint16{1000, 2000}, DSCP: -1, Class: fq.ClassBackup},
		{DSCP: -1, Class: fq.ClassMetered},
	}
	for _, client := range []bool{false, true} {
		s := New(client, ModeAuto, rules, 0)
		src, dst := far, inner
		if client {
			src, dst = inner, far
		}
		p := testPacket(src, dst, 0, 100)
		f := s.table.flowFor(&Source{User: "ann"}, p.Bytes(), 0)
		if f.Class != fq.ClassBackup || f.Band != fq.ClassBackup || f.Why != "rule" {
			t.Errorf("client %v: class %s in band %d, %s", client, f.Class, f.Band, f.Why)
		}
		p.Release()
		key := packet.Key{Proto: packet.ProtoTCP, DstPort: 1080, SrcPort: 1080}
		if f := s.table.streamFlow(key, endless{1}, 0); f.Forced || f.Class != fq.ClassLatency {
			t.Errorf("client %v: a stream has class %s, %s", client, f.Class, f.Why)
		}
	}
}

// What is asked for comes before every rule and the mode, and stays when these
// change; another port's flows go by the rules as ever. It is asked for streams as well.
func TestAskedClass(t *testing.T) {
	far, inner := netip.MustParseAddrPort("203.0.113.7:443"), netip.AddrPortFrom(packet.ClientHost4, 5000)
	rules := []Rule{{DSCP: -1, Class: fq.ClassMetered}}
	for _, mode := range []Mode{ModeAuto, ModeLatency} {
		s := New(true, mode, rules, 0)
		at, _ := packet.EndAt(packet.ProtoUDP, inner)
		Want(s, at, fq.Wish{Class: fq.ClassBackup, Asked: true}, 0)
		var flows []*fq.Flow
		for i := range 2 {
			p := testPacket(netip.AddrPortFrom(inner.Addr(), inner.Port()+uint16(i)), far, 0, 100)
			flows = append(flows, s.table.flowFor(&Source{User: "ann"}, p.Bytes(), 0))
			p.Release()
		}
		at.Proto = packet.ProtoTCP
		Want(s, at, fq.Wish{Class: fq.ClassBackup, Asked: true}, 0)
		stream := s.table.streamFlow(packet.Key{Proto: packet.ProtoTCP, Src: inner.Addr().As16(), SrcPort: inner.Port()}, endless{1}, 0)
		check := func(when string, other fq.Class) {
			t.Helper()
			for i, f := range []*fq.Flow{flows[0], stream} {
				if f.Class != fq.ClassBackup || f.Band != fq.ClassBackup || !f.Forced || f.Why != "asked" {
					t.Errorf("%v, %s, %d: class %s in band %d, %s", mode, when, i, f.Class, f.Band, f.Why)
				}
			}
			if f := flows[1]; f.Class != other || f.Why != "rule" {
				t.Errorf("%v, %s: the other flow has class %s, %s", mode, when, f.Class, f.Why)
			}
		}
		check("new", fq.ClassMetered)
		s.SetPolicy(ModeAggregate, []Rule{{DSCP: -1, Class: fq.ClassOrdered}}, 0)
		check("other rules", fq.ClassOrdered)
	}
}
