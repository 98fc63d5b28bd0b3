package server

import (
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netns"

	"github.com/mpsocks/mpsocks/conf"
)

// TestRoutedToThisServer: what listens on all addresses is reached by each one of a prefix that
// is routed to this machine, too, though no interface has it.
func TestRoutedToThisServer(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, for a network of its own")
	}
	runtime.LockOSThread() // for good: the thread ends with the test, in that network
	if _, err := netns.New(); err != nil {
		t.Skipf("no network of its own: %v", err)
	}
	for _, do := range []string{
		"link set lo up", "route add local 203.0.113.0/26 dev lo", "route add local 198.51.100.9 dev lo", "route add local 2001:db8:7::/64 dev lo",
		"route add local default dev lo table 100", // what marked packets are led to (TPROXY) is no address of its own
	} {
		if out, err := exec.Command("ip", strings.Fields(do)...).CombinedOutput(); errors.Is(err, exec.ErrNotFound) {
			t.Skip(err)
		} else if err != nil {
			t.Fatalf("ip %s: %v: %s", do, err, out)
		}
	}
	if _, err := localRoutes(); err != nil {
		t.Skipf("this kernel tells no routes by their kind: %v", err)
	}
	var a access
	a.own, a.routed = ownAddrs(conf.DefaultServer(), &a)
	for addr, want := range map[string]dropReason{
		"203.0.113.7":          dropOwn,
		"::ffff:203.0.113.7":   dropOwn,
		"64:ff9b::203.0.113.7": dropOwn,
		"2002:cb00:7107::1":    dropOwn,
		"198.51.100.9":         dropOwn,
		"2001:db8:7::dead":     dropOwn,
		"203.0.113.64":         dropNone,
		"198.51.100.10":        dropNone,
		"2001:db8:8::dead":     dropNone,
		"127.0.0.1":            dropRefused,
	} {
		if got := a.verdict(netip.AddrPortFrom(netip.MustParseAddr(addr), 8080)); got != want {
			t.Errorf("%s: %v, want %v", addr, got, want)
		}
	}
}
