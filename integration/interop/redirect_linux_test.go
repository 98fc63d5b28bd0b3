package interop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/integration/bench/halves"
)

// A routedHouse is a machine behind a router, which runs the client, and the server with a web
// site, a name server and iperf3 at the other end of its uplink.
type routedHouse struct {
	t                  *testing.T
	guest, router, far string // namespaces
	dir, file          string
}

// What the recipe calls the server, and where it is.
const (
	routedServer, routedServer6 = "203.0.113.1", "2001:db8:113::1"
	routedSite, routedSite6     = "198.51.100.7", "2001:db8:51::7"
)

func newRoutedHouse(t *testing.T) *routedHouse {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, for network namespaces")
	}
	for _, p := range []string{"ip", "nft", "dnsmasq", "tcpdump", "curl", "dig", "iperf3"} {
		need(t, p)
	}
	name := unique()
	h := &routedHouse{t: t, dir: t.TempDir(), guest: "mphouse-g" + name, router: "mphouse-r" + name, far: "mphouse-f" + name}
	for _, ns := range []string{h.guest, h.router, h.far} {
		h.sh("ip netns add %s && ip -n %s link set lo up", ns, ns)
		t.Cleanup(func() { exec.Command("ip", "netns", "del", ns).Run() })
	}
	h.sh("ip link add eth0 netns %s type veth peer name br-lan netns %s", h.guest, h.router)
	h.sh("ip link add wan0 netns %s type veth peer name net0 netns %s", h.router, h.far)
	for _, line := range []string{
		"%[1]s addr add 192.168.1.20/24 dev eth0", "%[1]s addr add fd11::20/64 dev eth0 nodad", "%[1]s link set eth0 up",
		"%[2]s addr add 192.168.1.1/24 dev br-lan", "%[2]s addr add fd11::1/64 dev br-lan nodad", "%[2]s link set br-lan up",
		"%[1]s route add default via 192.168.1.1", "%[1]s -6 route add default via fd11::1",
		"%[2]s addr add 203.0.113.2/24 dev wan0", "%[2]s addr add 2001:db8:113::2/64 dev wan0 nodad", "%[2]s link set wan0 up",
		"%[2]s route add default via " + routedServer, "%[2]s -6 route add default via " + routedServer6,
		"%[3]s addr add " + routedServer + "/24 dev net0", "%[3]s addr add " + routedServer6 + "/64 dev net0 nodad", "%[3]s link set net0 up",
		"%[3]s addr add " + routedSite + "/32 dev lo", "%[3]s addr add " + routedSite6 + "/128 dev lo nodad",
	} {
		h.sh("ip -n "+line+"%.0[1]s%.0[2]s%.0[3]s", h.guest, h.router, h.far)
	}
	// A house has a NAT, so that what goes around the tunnel would be answered too.
	h.sh("ip netns exec %s sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1", h.router)
	h.sh("%s init --server %s:%s --dir %s", mpsocks, routedServer, tunnelPort, h.dir)
	h.file = filepath.Join(h.dir, "client.yaml")
	h.edit("server.yaml", "allow: []", `allow: ["198.51.100.0/24", "2001:db8::/32"]`)
	h.start(h.far, mpsocks, "server", "-c", filepath.Join(h.dir, "server.yaml"))
	h.start(h.far, "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root", "--pid-file=",
		"--listen-address="+routedSite, "--listen-address="+routedSite6, "--bind-interfaces", "--address=/web.test/"+routedSite)
	h.start(h.far, python, "-m", "http.server", "--bind", "::", "--directory", h.dir, "8000")
	h.start(h.far, "iperf3", "-s")
	return h
}

func (h *routedHouse) sh(format string, args ...any) {
	h.t.Helper()
	line := fmt.Sprintf(format, args...)
	if out, err := exec.Command("sh", "-c", line).CombinedOutput(); err != nil {
		h.t.Fatalf("%s: %v\n%s", line, err, out)
	}
}

func (h *routedHouse) edit(name, old, with string) {
	h.t.Helper()
	path := filepath.Join(h.dir, name)
	b, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(b), old) {
		h.t.Fatalf("%s has no %q (%v)", name, old, err)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(b), old, with, 1)), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

func (h *routedHouse) start(ns, program string, args ...string) *halves.Process {
	h.t.Helper()
	p, err := halves.Run("ip", append([]string{"netns", "exec", ns, program}, args...)...)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		p.Kill()
		if h.t.Failed() {
			h.t.Logf("%s %q said:\n%s", program, args, p.Output())
		}
	})
	return p
}

// in runs a program in a namespace, and returns what it said.
func (h *routedHouse) in(ns, program string, args ...string) string {
	h.t.Helper()
	cmd := exec.CommandContext(h.t.Context(), "ip", append([]string{"netns", "exec", ns, program}, args...)...)
	cmd.WaitDelay = time.Second
	out, _ := cmd.CombinedOutput() // a failure is in what the caller looks for
	return string(out)
}

// blocks are the code blocks of a recipe in one language.
func blocks(t *testing.T, file, language string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "recipes", file))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, m := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		out = append(out, m[1])
	}
	if len(out) == 0 {
		t.Fatalf("%s has no %s", file, language)
	}
	return out
}

// wasReset says whether curl's connection was reset: before it had made it, in its own
// words, or afterwards.
func wasReset(said string) bool {
	return strings.Contains(said, "reset") || strings.Contains(said, "Couldn't connect")
}

// The recipe of a router, word for word: a machine of the house that knows nothing of the
// tunnel has its questions, pages and flows go through it, in both families, and none
// around it.
func TestRouterRecipe(t *testing.T) {
	t.Parallel()
	h := newRoutedHouse(t)
	var setting string
	for _, b := range blocks(t, "router.md", "yaml") {
		if strings.HasPrefix(b, "redirect:") {
			setting = b
		}
	}
	b, err := os.ReadFile(h.file)
	if err == nil {
		err = os.WriteFile(h.file, append(b, "\n"+setting+"run_socket: \"off\"\n"...), 0o600)
	}
	if err != nil || setting == "" {
		t.Fatalf("%q, %v", setting, err)
	}
	rules := file(t, "mpsocks.nft", blocks(t, "router.md", "nft")[0])
	for _, lacks := range []string{"no rule of nftables", "no rule leads packets with a mark"} {
		if out := h.in(h.router, mpsocks, "doctor", "-c", h.file, "--stun", "none"); !strings.Contains(out, lacks) {
			t.Errorf("doctor does not say %q:\n%s", lacks, out)
		}
	}
	h.sh("ip netns exec %s nft -f %s", h.router, rules)
	h.sh("ip netns exec %s sh -e <<'END'\n%s\nEND", h.router, blocks(t, "router.md", "sh")[0])
	leaks := h.start(h.router, "tcpdump", "-lnni", "wan0", "not", "(", "tcp", "port", tunnelPort, "or", "arp", "or", "icmp6", "or", "dst", "net", "ff02::/16", ")")
	client := h.start(h.router, mpsocks, "client", "-c", h.file)
	if out := h.in(h.router, mpsocks, "check", "-c", h.file); !strings.Contains(out, "UDP and TCP\n") {
		t.Errorf("check says nothing of it:\n%s", out)
	}
	for range 100 { // until the client is up
		if strings.Contains(h.in(h.guest, "dig", "+short", "+time=1", "+tries=1", "@"+routedSite, "web.test"), routedSite) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	for _, server := range []string{routedSite, routedSite6} {
		for _, how := range []string{"+notcp", "+tcp"} {
			// dig says who answered, and complains if it is not whom it asked.
			out := h.in(h.guest, "dig", how, "+time=3", "+tries=3", "@"+server, "web.test")
			if !strings.Contains(out, "IN\tA\t"+routedSite) || !strings.Contains(out, "SERVER: "+server+"#53") {
				t.Errorf("dig %s @%s: %s", how, server, out)
			}
		}
	}
	for _, url := range []string{"http://" + routedSite + ":8000/", "http://[" + routedSite6 + "]:8000/"} {
		if out := h.in(h.guest, "curl", "-sgS", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", url); out != "200" {
			t.Errorf("curl %s: %q", url, out)
		}
	}
	if out := h.in(h.guest, "curl", "-sgS", "-m", "5", "http://"+routedSite+":81/"); !wasReset(out) {
		t.Errorf("a port that refuses: %q", out)
	}
	for _, server := range []string{routedSite, routedSite6} {
		for _, args := range [][]string{{"-u", "-b", "20M", "-l", "1200"}, {"-u", "-b", "20M", "-l", "1200", "-R"}, {}, {"-R"}} {
			if out := h.in(h.guest, "iperf3", append([]string{"-c", server, "-t", "1"}, args...)...); !strings.Contains(out, "iperf Done.") {
				t.Errorf("iperf3 %s %q: %s", server, args, out)
			}
		}
	}
	if out := h.in(h.router, mpsocks, "doctor", "-c", h.file, "--stun", "none"); !strings.Contains(out, "what it needs of the firewall") || strings.Contains(out, "failed   path") {
		t.Errorf("doctor said:\n%s", out)
	}
	// To the port itself: nothing comes of it.
	if out := h.in(h.router, "curl", "-sgS", "-m", "5", "http://127.0.0.1:1081/"); !wasReset(out) {
		t.Errorf("the redirect's own port: %q", out)
	}
	// What is for the router and the house stays there.
	if out := h.in(h.guest, "curl", "-sgS", "-m", "5", "http://192.168.1.1:81/"); !strings.Contains(out, "refused") && !strings.Contains(out, "Failed to connect") {
		t.Errorf("the router's own port: %q", out)
	}
	for _, said := range strings.Split(leaks.Output(), "\n") {
		if strings.Contains(said, " > ") {
			t.Errorf("went around the tunnel: %s", said)
		}
	}
	if out := client.Output(); strings.Contains(out, "panic") {
		t.Error(out)
	}
}
