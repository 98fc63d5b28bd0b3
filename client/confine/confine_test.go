//go:build linux

package confine

import (
	"net/netip"
	"strings"
	"testing"
)

func TestNsswitch(t *testing.T) {
	got := nsswitch("passwd: files systemd\n# a comment\nhosts:  mymachines resolve [!UNAVAIL=return] files dns\nshadow: files\n")
	want := "passwd: files systemd\n# a comment\nhosts: files dns\nshadow: files\n"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := nsswitch("hosts: mymachines myhostname resolve [!UNAVAIL=return] dns\n"); got != "hosts: files myhostname dns\n" {
		t.Errorf("the machine's own name: %q", got)
	}
	if got := nsswitch("passwd: files\n"); !strings.Contains(got, "hosts: files dns\n") {
		t.Errorf("no line for hosts in %q", got)
	}
}

func TestResolvConf(t *testing.T) {
	got := resolvConf([]netip.Addr{netip.MustParseAddr("198.18.0.1")})
	if !strings.HasSuffix(got, "\nnameserver 198.18.0.1\n") {
		t.Errorf("%q", got)
	}
}
