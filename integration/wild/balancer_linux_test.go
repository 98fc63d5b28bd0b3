package wild

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/status"
)

// The servers behind the balancer, and where each is.
var backends = []struct{ place, address string }{{"one", "10.98.0.1"}, {"two", "10.97.0.1"}}

// What HAProxy is told of choosing a server, and of those that hang: by turns and nothing; as
// docs/recipes/haproxy.md has it; and that without the end of connections that are there.
const (
	byTurns  = "balance roundrobin\n    default-server check inter 500ms"
	bySource = patiently + " on-marked-down shutdown-sessions"

	patiently = `balance source
    option httpchk GET /healthz
    http-check expect status 200,401
    default-server check port 9082 inter 1s fall 2`
)

// balanced puts two servers behind HAProxy, and a client with two paths in front of it. It
// returns the servers, and which of them has the session. addresses are the client's for the
// server, "" = the balancer's.
func (c *country) balanced(choice, addresses string) (servers []*half, at int) {
	c.t.Helper()
	haproxy, err := exec.LookPath("/usr/sbin/haproxy")
	if err != nil {
		c.t.Skip("haproxy is not there")
	}
	c.router(1, 1500, "w1")
	c.router(2, 1500, "w2")
	client, server := c.keys(addresses, `paths: [{name: dsl, bind: "w1"}, {name: lte, bind: "w2"}]`)
	text, err := os.ReadFile(server)
	if err != nil {
		c.t.Fatal(err)
	}
	text = regexp.MustCompile(`(?m)^advertise:.*\n`).ReplaceAll(text, nil)
	for i, b := range backends {
		c.place(b.place)
		c.sh(fmt.Sprintf("ip link add x%d netns %ssrv type veth peer name x netns %s%s", i, c.prefix, c.prefix, b.place))
		c.ip("srv", fmt.Sprintf("addr add 10.50.%d.1/30 dev x%d", i, i))
		c.ip("srv", fmt.Sprintf("link set x%d up", i))
		c.ip(b.place, fmt.Sprintf("addr add 10.50.%d.2/30 dev x", i))
		c.ip(b.place, "link set x up")
		c.ip(b.place, "addr add "+b.address+"/32 dev lo")
		c.ip(b.place, fmt.Sprintf("route add default via 10.50.%d.1", i))
		c.ip("srv", fmt.Sprintf("route add %s/32 via 10.50.%d.2", b.address, i))
		own := strings.Replace(string(text), c.dir+"/s", c.dir+"/"+b.place, 1)
		own = strings.Replace(own, "127.0.0.1:9082", b.address+":9082", 1)
		own += fmt.Sprintf("behind_load_balancer: true\nadvertise: [%q]\n", b.address+":7443")
		servers = append(servers, c.start(b.place, b.place, "server", c.file(b.place+".yaml", own)))
	}
	c.run("srv", "haproxy", haproxy, "-db", "-f", c.file("haproxy.cfg", fmt.Sprintf(`defaults
    mode tcp
    timeout connect 2s
    timeout client 1h
    timeout server 1h
frontend tunnel
    bind %s:7443
    default_backend mpsocks
backend mpsocks
    %s
    server one %s:7443
    server two %s:7443
`, far, choice, backends[0].address, backends[1].address)))
	c.echo("srv")
	c.client = c.start("cli", "client", "client", client)
	c.works(30*time.Second, far)
	at = -1
	c.until(20*time.Second, "both paths have reached the server itself", func() bool {
		for i, b := range backends {
			if strings.Count(c.client.said(c.t), `"remote":"`+b.address) >= 8 {
				at = i
			}
		}
		return at >= 0 && c.path("dsl").State == status.Up && c.path("lte").State == status.Up
	})
	return servers, at
}

// file writes one that only its owner reads, and returns its path.
func (c *country) file(name, text string) string {
	c.t.Helper()
	path := filepath.Join(c.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		c.t.Fatal(err)
	}
	return path
}

// A server behind a load balancer dies, hangs or is cut off: its client is at another one
// within a moment, and the log says nothing of paths that lose packets.
func TestServerGoesBehindBalancer(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(c *country, i int, h *half){
		"dies":       func(_ *country, _ int, h *half) { h.cmd.Process.Kill() },
		"hangs":      func(_ *country, _ int, h *half) { h.cmd.Process.Signal(syscall.SIGSTOP) },
		"is cut off": func(c *country, i int, _ *half) { c.ip("srv", fmt.Sprintf("link set x%d down", i)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			soonest(t, 4*time.Second, func(t *testing.T) time.Duration {
				c := newCountry(t)
				servers, at := c.balanced(byTurns, "")
				f := c.flow(far)
				time.Sleep(300 * time.Millisecond)
				end(c, at, servers[at])
				time.Sleep(5 * time.Second)
				gap := f.longest(t)
				t.Logf("a gap of %v", gap)
				for line := range strings.Lines(c.client.said(t)) {
					// Who names the balancer first blames the path only if that is not it.
					if strings.Contains(line, "loses large packets") && !strings.Contains(line, "load balancer") {
						t.Errorf("a path is blamed for what the server does: %s", line)
					}
				}
				return gap
			})
		})
	}
}

// A balancer that always leads a client to the same server, and looks whether that answers,
// leads it to another one when it hangs, also where connections that are there stay with the
// one that does. Log and status say meanwhile what is wrong and what helps, once.
func TestServerHangsBehindSource(t *testing.T) {
	t.Parallel()
	const says = " connections and do" // one takes them and does not answer, or several do
	for name, choice := range map[string]string{"as in the recipe": bySource, "connections stay": patiently} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCountry(t)
			servers, at := c.balanced(choice, "")
			f := c.flow(far)
			time.Sleep(300 * time.Millisecond)
			begin := time.Now()
			servers[at].cmd.Process.Signal(syscall.SIGSTOP)
			var p status.Path // of one look: the path may be up a moment later
			c.until(8*time.Second, "status says who hangs", func() bool {
				p = c.path("dsl")
				return strings.Contains(p.Cause, says)
			})
			if !strings.Contains(p.Remedy, "load balancer") && p.State != status.Up {
				t.Errorf("status has %q for a remedy", p.Remedy)
			}
			time.Sleep(time.Until(begin.Add(9 * time.Second)))
			gap := f.longest(t)
			if t.Logf("a gap of %v", gap); gap > 7*time.Second {
				t.Error("that is too long")
			}
			lines := 0
			for line := range strings.Lines(c.client.said(t)) {
				if strings.Contains(line, `"level":"warn"`) && strings.Contains(line, says) && strings.Contains(line, "load balancer") {
					lines++
				}
			}
			if lines != 1 {
				t.Errorf("%d lines say what is wrong", lines)
			}
		})
	}
}

// Where a balancer leads to a server that hangs and finds nothing wrong with it, for its kernel
// answers, a client that knows the servers' own addresses is soon at another one.
func TestServerHangsAndOthersAreKnown(t *testing.T) {
	t.Parallel()
	addresses := `["` + far + `:7443"`
	for _, b := range backends {
		addresses += `, "` + b.address + `:7443"`
	}
	soonest(t, 3500*time.Millisecond, func(t *testing.T) time.Duration {
		c := newCountry(t)
		servers, at := c.balanced("balance source\n    default-server check inter 500ms", addresses+"]")
		f := c.flow(far)
		time.Sleep(300 * time.Millisecond)
		servers[at].cmd.Process.Signal(syscall.SIGSTOP)
		time.Sleep(5 * time.Second)
		gap := f.longest(t)
		t.Logf("a gap of %v", gap)
		return gap
	})
}

// All paths fail for a moment, and the server behind the balancer is well: the session is
// the same afterwards, nobody has tried to join by the balancer, and no half warns of more
// than the deaths. While no subflow is left, the balancer's address is dialled as well, at
// once. That the session's own server is waited for, TestBalancerIsSooner of mux shows.
func TestPathsFailBehindBalancer(t *testing.T) {
	t.Parallel()
	c := newCountry(t)
	servers, at := c.balanced(byTurns, "")
	time.Sleep(time.Second)
	if n := c.dialled(far); n != 0 {
		t.Errorf("the balancer is being dialled by %d while all subflows are up", n)
	}
	for _, away := range []time.Duration{1100 * time.Millisecond, 2300 * time.Millisecond} {
		f := c.flow(far)
		time.Sleep(300 * time.Millisecond)
		begin := time.Now()
		for k := 1; k <= 2; k++ {
			c.ip("srv", fmt.Sprintf("route replace blackhole 192.168.%d.0/24", k))
		}
		took := c.until(5*time.Second, "the balancer's address is dialled", func() bool { return c.dialled(far) > 0 })
		time.Sleep(time.Until(begin.Add(away)))
		for k := 1; k <= 2; k++ {
			c.ip("srv", fmt.Sprintf("route replace 192.168.%d.0/24 via 10.%d.0.2", k, k))
		}
		t.Logf("dialled after %v, works %v after the return", took, c.works(20*time.Second, far))
		f.longest(t)
		time.Sleep(time.Second)
	}
	said := c.client.said(t)
	if n := strings.Count(said, "session established"); n != 1 {
		t.Errorf("%d sessions", n)
	}
	through := 0
	for line := range strings.Lines(said) {
		if strings.Contains(line, `"level":"warn"`) && !strings.Contains(line, " died") {
			t.Errorf("the client warns: %s", line)
		}
		if strings.Contains(line, `"message":"subflow up"`) && strings.Contains(line, `"remote":"`+far+`:7443"`) {
			through++
		}
	}
	if through != 1 {
		t.Errorf("%d subflows went by the balancer", through)
	}
	for i, h := range servers {
		for line := range strings.Lines(h.said(t)) {
			if strings.Contains(line, "not known here") || strings.Contains(line, `"level":"warn"`) && !strings.Contains(line, "limits.mappings and") {
				t.Errorf("server %d (the session is at %d) has been asked to join by the balancer, or warns: %s", i, at, line)
			}
		}
	}
}

// dialled is how many connections of the client's place to an address are not through yet.
func (c *country) dialled(address string) (n int) {
	c.t.Helper()
	four := netip.MustParseAddr(address).As4()
	want := fmt.Sprintf("%02X%02X%02X%02X:%04X", four[3], four[2], four[1], four[0], 7443)
	c.within("cli", func() error {
		b, err := os.ReadFile("/proc/thread-self/net/tcp")
		for line := range strings.Lines(string(b)) {
			if f := strings.Fields(line); len(f) > 3 && f[2] == want && f[3] == "02" { // SYN-SENT
				n++
			}
		}
		return err
	})
	return n
}
