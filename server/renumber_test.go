package server

import (
	"errors"
	"io"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// TestRenumbering: the connections of an address are over when it is gone and another one has come in its place,
// and not when only its line is interrupted, or it is set anew.
func TestRenumbering(t *testing.T) {
	a, b, lan := netip.MustParseAddr("203.0.113.5"), netip.MustParseAddr("198.51.100.9"), netip.MustParseAddr("192.168.178.20")
	six, next := netip.MustParseAddr("2001:db8:1::5"), netip.MustParseAddr("2001:db8:2::5")
	link, seen := netip.MustParseAddr("fe80::5"), netip.MustParseAddr("203.0.113.255")
	var r renumbering
	for _, step := range []struct {
		what string
		at   int // s
		have []netip.Addr
		lost []netip.Addr
	}{
		{"at the start", 1, []netip.Addr{a, lan, six}, nil},
		{"the line is gone", 2, []netip.Addr{lan, six}, nil},
		{"for long", 100, []netip.Addr{lan, six}, nil},
		{"and back", 101, []netip.Addr{a, lan, six}, nil},
		{"gone", 102, []netip.Addr{lan, six}, nil},
		{"another one has come", 103, []netip.Addr{b, lan, six}, nil},
		{"shortly after that", 106, []netip.Addr{b, lan, six}, nil},
		{"and a little later", 107, []netip.Addr{b, lan, six}, []netip.Addr{a}},
		{"which is said once", 108, []netip.Addr{b, lan, six}, nil},
		{"another prefix comes first", 200, []netip.Addr{b, lan, six, next}, nil},
		{"then the old one goes", 230, []netip.Addr{b, lan, next}, nil},
		{"and is gone", 235, []netip.Addr{b, lan, next}, []netip.Addr{six}},
		{"a link has an address of its own", 400, []netip.Addr{b, lan, next, link}, nil},
		{"the other one goes", 401, []netip.Addr{b, lan, link}, nil},
		{"and stays away", 499, []netip.Addr{b, lan, link}, nil},
		{"the first one is had again", 500, []netip.Addr{a, lan, link}, nil},
		{"and lost with the other's return", 503, []netip.Addr{b, lan, link}, nil},
		{"for good", 510, []netip.Addr{b, lan, link}, []netip.Addr{a}},
	} {
		have := own{seen: shared}
		for _, x := range step.have {
			have[x] = ours
		}
		lost := slices.Collect(maps.Keys(r.look(int64(step.at)*int64(time.Second), have)))
		if !slices.Equal(lost, step.lost) {
			t.Errorf("%s: lost are %v, want %v", step.what, lost, step.lost)
		}
	}
}

// TestStranded: CONNECTs that left from an address that is lost are reset, and no others.
func TestStranded(t *testing.T) {
	s := testServer(t, nil, nil)
	p := newPeer(s, "laptop", newFakeSession())
	ln := listenTCP(t, "127.0.0.1:0")
	app, target, done := connectThrough(t, p, ln, "")
	strand(s, map[netip.Addr]bool{netip.MustParseAddr("127.0.0.2"): true})
	if _, err := target.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1)
	if _, err := io.ReadFull(app, b); err != nil {
		t.Fatalf("a CONNECT from another address is over: %v", err)
	}
	strand(s, map[netip.Addr]bool{netip.MustParseAddr("127.0.0.1"): true})
	if _, err := app.Read(b); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("a CONNECT from the address is not reset: %v", err)
	}
	<-done
}
