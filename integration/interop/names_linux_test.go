package interop

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/integration/bench/halves"
)

// TestNameServers has dnsmasq and unbound resolve all names through the forward of dns.md, by
// its text as it stands, answers among them that do not fit into a datagram.
func TestNameServers(t *testing.T) {
	t.Parallel()
	unbound := need(t, "/usr/sbin/unbound")
	need(t, "dig")
	p := cookbook(t, "dns.md")
	h := newHouse(t)
	h.long()
	h.serve()
	h.connect(p.block("client.yaml"))
	for port, start := range map[string]func() *halves.Process{
		"53": func() *halves.Process {
			return h.start(h.laptop, "dnsmasq", "--keep-in-foreground", "--user=root", "--pid-file=", "--listen-address=127.0.0.1", "--bind-interfaces",
				"--conf-file="+file(t, "dnsmasq.conf", p.block("dnsmasq.conf")))
		},
		"5300": func() *halves.Process {
			own := file(t, "own.conf", "server:\n    interface: 127.0.0.1\n    port: 5300\n    username: \"\"\n    chroot: \"\"\n    directory: \"/tmp\"\n    pidfile: \"\"\n    use-syslog: no\n    do-daemonize: no\n    module-config: \"iterator\"\n"+
				"include: "+file(t, "mpsocks.conf", p.block("unbound.conf"))+"\n")
			return h.start(h.laptop, unbound, "-d", "-c", own)
		},
	} {
		said := start()
		dig := "dig +short +time=3 +tries=2 @127.0.0.1 -p " + port + " "
		h.until(20*time.Second, "a name by port "+port+" of the laptop", func() bool { return h.try(dig+"www.example.com | grep -qx "+houseSite) == nil })
		if got := strings.Count(h.sh(h.laptop, dig+longName+" TXT"), "part"); got != longParts {
			t.Errorf("port %s: %d of %d parts of a long answer\n%s", port, got, longParts, said.Output())
		}
	}
	// By the forward itself, too, without larger datagrams.
	if got := h.sh(h.laptop, "dig +noedns +time=3 @127.0.0.1 -p 5353 "+longName+" TXT"); strings.Count(got, "part") < longParts || !strings.Contains(got, "Truncated, retrying in TCP") {
		t.Errorf("dig says %s", got)
	}
}

// A name of the house whose answer is too long for a datagram.
const (
	longName  = "long.example.org"
	longParts = 40
)

// long has the house's name server know it, at an address of its own.
func (h *house) long() {
	h.t.Helper()
	args := []string{
		"--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root", "--pid-file=", "--listen-address=" + houseNames,
		"--bind-interfaces", "--address=/example.com/" + houseSite,
	}
	for i := range longParts {
		args = append(args, fmt.Sprintf("--txt-record=%s,part %d %s", longName, i, strings.Repeat("x", 100)))
	}
	h.sh("", "ip netns pids "+h.world+" | while read p; do grep -q dnsmasq /proc/$p/comm && kill $p || true; done")
	h.until(10*time.Second, "the first name server ends", func() bool {
		return h.try("true") == nil && within(h.world, func() error {
			c, err := net.Listen("tcp", houseNames+":53")
			if err == nil {
				c.Close()
			}
			return err
		}) == nil
	})
	h.start(h.world, "dnsmasq", args...)
	h.listens(h.world, houseNames+":53")
}
