package client

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/mpsocks/mpsocks/mux/packet"
)

func TestPortsReuseLast(t *testing.T) {
	table := newPorts()
	var first, second innerPort
	if err := errors.Join(table.take(&first, nil), table.take(&second, nil)); err != nil {
		t.Fatal(err)
	}
	table.give(&first)
	table.give(&first) // idempotent
	seen, count := make([]bool, maxHosts<<16), 1
	index := func(p *innerPort) int { return int(p.host)<<16 | int(p.port) }
	seen[index(&second)] = true
	// Everything that was never used comes before the port that was freed, for
	// it has to rest.
	all := make([]innerPort, maxHosts*portCount-2)
	for i := range all {
		p := &all[i]
		if err := table.take(p, nil); err != nil {
			t.Fatal(err)
		}
		if p.port < firstPort || seen[index(p)] {
			t.Fatalf("port %d of host %d given out twice, or reserved", p.port, p.host)
		}
		seen[index(p)] = true
		count++
	}
	if count != maxHosts*portCount-1 || seen[index(&first)] {
		t.Fatalf("%d different ports, freed one reused %v", count, seen[index(&first)])
	}
	var again innerPort
	if err := table.take(&again, nil); err != nil || again.source(hosts4[0]) != first.source(hosts4[0]) {
		t.Fatalf("%v, %v: not the port that was freed, which is the last one", again, err)
	}
	if err := table.take(new(innerPort), nil); !errors.Is(err, errNoPorts) {
		t.Errorf("all are in use: %v", err)
	}
}

func TestPortsOneAddressUntilUsedUp(t *testing.T) {
	table := newPorts()
	for i := range portCount + 1 {
		var p innerPort
		if err := table.take(&p, nil); err != nil {
			t.Fatal(err)
		}
		if want := uint8(i / portCount); p.host != want {
			t.Fatalf("port %d is on host %d", i, p.host)
		}
	}
}

func TestPortsRestedComeBeforeTheNextAddress(t *testing.T) {
	table := newPorts()
	var p innerPort
	for range portCount {
		if err := table.take(&p, nil); err != nil {
			t.Fatal(err)
		}
	}
	table.give(&p)
	table.freed[0].at -= uint32(portRest.Seconds()) // wraps as the clock does
	var q innerPort
	if err := table.take(&q, nil); err != nil || q.host != 0 || q.port != p.port {
		t.Errorf("%+v, %v: not the rested port %d", q, err, p.port)
	}
}

func TestPortsLookup(t *testing.T) {
	table := newPorts()
	p := new(innerPort)
	if err := table.take(p, nil); err != nil {
		t.Fatal(err)
	}
	for _, host := range []netip.Addr{packet.ClientHost4, packet.ClientHost6} {
		if got := table.lookup(netip.AddrPortFrom(host, p.port)); got != p {
			t.Errorf("%s: %v", host, got)
		}
		if got := table.lookup(netip.AddrPortFrom(host.Next(), p.port)); got != nil {
			t.Errorf("next address: %v", got)
		}
		if got := table.lookup(netip.AddrPortFrom(host, p.port^1)); got != nil {
			t.Errorf("next port: %v", got)
		}
	}
	for _, other := range []string{"198.18.0.1", "0.0.0.0", "255.255.255.255", "fd6d:7073::1", "::", "fd6d:7073:0:1::2"} {
		if got := table.lookup(netip.AddrPortFrom(netip.MustParseAddr(other), p.port)); got != nil {
			t.Errorf("%s: %v", other, got)
		}
	}
	dst := netip.AddrPortFrom(hosts4[0], p.port)
	if n := testing.AllocsPerRun(100, func() { table.lookup(dst) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	table.give(p)
	if got := table.lookup(dst); got != nil {
		t.Errorf("given back, still found: %v", got)
	}
}
