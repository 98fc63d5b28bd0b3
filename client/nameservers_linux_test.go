package client

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A machine's name servers are known as soon as the file names them, and after it names
// others; what is wrong in it, or very long, is passed over.
func TestNameServers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "resolv.conf")
	n := &nameServers{file: file}
	put := func(text string) { // as network managers do
		t.Helper()
		err := os.WriteFile(file+".new", []byte(text), 0o600)
		if err == nil {
			err = os.Rename(file+".new", file)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	want := func(when, named, not string) {
		t.Helper()
		for _, a := range strings.Fields(named) {
			if !n.named(netip.MustParseAddr(a)) {
				t.Errorf("%s: %s is not known", when, a)
			}
		}
		for _, a := range strings.Fields(not) {
			if n.named(netip.MustParseAddr(a)) {
				t.Errorf("%s: %s is known", when, a)
			}
		}
	}
	want("without a file", "", "192.168.1.1 ::1")
	put("# by hand\nsearch home\nnameserver 192.168.1.1\nnameserver fe80::1%eth0\nnameserver\nnameserver router\n#nameserver 9.9.9.9\nnameserver 2001:db8::53 # ours\n")
	want("at home", "192.168.1.1 fe80::1 2001:db8::53", "9.9.9.9 10.0.0.1")
	put("nameserver 10.0.0.1\n")
	want("on the way", "10.0.0.1 192.168.1.1", "9.9.9.9")
	var many strings.Builder
	for i := range 200 {
		fmt.Fprintf(&many, "nameserver 10.1.0.%d\n", i)
	}
	put(many.String())
	want("with many", "10.1.0.199", "10.1.0.0 10.0.0.1")
	if len(n.list) > maxServers {
		t.Errorf("%d are remembered", len(n.list))
	}
	put(strings.Repeat("#\n", maxResolvConf) + "nameserver 10.2.0.1\n")
	want("very long", "10.1.0.199", "10.2.0.1")
}
