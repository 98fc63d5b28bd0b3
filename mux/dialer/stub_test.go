package dialer

import (
	"fmt"
	"testing"
)

// Of the servers that a resolver of this machine asks those count that are outside of it and
// of the tunnel.
func TestNameServers(t *testing.T) {
	const text = "# Managed by man:systemd-resolved(8).\nnameserver 198.18.0.1\nnameserver 127.0.0.53\nnameserver 192.168.1.1\nnameserver\nnameserver fd6d:7073::1\nnameserver fe80::1%eth0\nnameserver x\noptions edns0\nsearch lan\n"
	if got := fmt.Sprint(nameServers([]byte(text))); got != "[192.168.1.1 fe80::1%eth0]" {
		t.Error(got)
	}
	for _, address := range []string{"192.0.2.1:53", "x", "[2001:db8::1]:53"} {
		if got := beyondStub(address); got != address {
			t.Errorf("%s becomes %s", address, got)
		}
	}
}

// A way with a mark is another than the one without.
func TestBinding(t *testing.T) {
	seen := map[string]bool{}
	for _, w := range []*Way{{}, {Mark: 1}, {Mark: 2}, {Interface: "eth0"}, {Interface: "eth0", Mark: 1}} {
		if b := w.binding(); seen[b] || (b == "") != (*w == Way{}) {
			t.Errorf("%+v is bound to %q", w, b)
		} else {
			seen[b] = true
		}
	}
}
