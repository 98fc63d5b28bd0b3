package zones

import (
	"net"
	"net/netip"
	"testing"
)

// A zone is an interface's name or its number, and comes out as the name, whoever asks and whatever
// was asked before: a number that was asked for once was the interface's name from then on.
func TestZones(t *testing.T) {
	lo, err := net.InterfaceByIndex(1)
	if err != nil {
		t.Skip(err)
	}
	var m Memory
	for name, want := range map[string]uint32{"": 0, lo.Name: 1, "1": 1, "4711": 4711} {
		if got, err := Index(name); err != nil || got != want {
			t.Errorf("%q is %d: %v", name, got, err)
		}
		for range 2 {
			if got := m.Index(name); got != want {
				t.Errorf("%q is %d, as it is remembered", name, got)
			}
		}
	}
	for index, want := range map[uint32]string{0: "", 1: lo.Name, 4711: "4711"} {
		if got := Name(index); got != want {
			t.Errorf("%d is %q", index, got)
		}
		for range 2 {
			if got := m.Name(index); got != want {
				t.Errorf("%d is %q, as it is remembered", index, got)
			}
		}
	}
	if index, err := Index("no such"); err == nil || m.Index("no such") != 0 {
		t.Errorf("what is none is %d", index)
	}
	m.Forget()
	if m.known[0].name != "" {
		t.Error("something is remembered")
	}
	for from, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "2001:db8::1": "2001:db8::1",
		"fe80::1%1": "fe80::1%" + lo.Name, "fe80::1%" + lo.Name: "fe80::1%" + lo.Name, "fe80::1%4711": "fe80::1%4711", "fe80::1%none": "fe80::1%none",
	} {
		if got := Named(netip.MustParseAddr(from)); got.String() != want {
			t.Errorf("%s is %v", from, got)
		}
	}
}
