package interop

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/integration/bench/halves"
)

// The recipe whole-machine.md, word for word, and what it promises: programs that know
// nothing of the tunnel go through it, and nothing of theirs goes around.

// settingOf is the block of the recipe that begins so.
func settingOf(t *testing.T, begins string) string {
	t.Helper()
	for _, b := range blocks(t, "whole-machine.md", "yaml") {
		if strings.HasPrefix(b, begins) {
			return b
		}
	}
	t.Fatalf("whole-machine.md has no setting that begins with %q", begins)
	return ""
}

// sniff watches an interface of a namespace for what is not the tunnel's; what it returns
// ends that and says what went by.
func sniff(h *house, namespace, device string) func() []string {
	h.t.Helper()
	p := h.start(namespace, "tcpdump", "-lnni", device, "not", "(", "tcp", "port", "7443", "or", "arp", "or", "icmp6", "or", "dst", "net", "ff02::/16", ")")
	h.until(10*time.Second, "tcpdump listens", func() bool { return strings.Contains(p.Output(), "listening on") })
	return func() (seen []string) {
		time.Sleep(200 * time.Millisecond) // what was sent last is written
		_, _ = p.Stop()
		for line := range strings.Lines(p.Output()) {
			if strings.Contains(line, " > ") {
				seen = append(seen, device+": "+strings.TrimSpace(line))
			}
		}
		return seen
	}
}

// fetch is the address that curl asks a site from, on the laptop, and the answer.
func (h *house) fetch(url string, before ...string) string {
	out, _ := h.script(h.laptop, strings.Join(before, " ")+" curl -q -sS -m 5 -w ' %{local_ip}' "+url) // a failure is in what it says
	return strings.TrimSpace(out)
}

const (
	machineAddress = "198.18.255.2" // the device's
	inside         = "the site " + machineAddress
	outside        = "the site " + houseEth
)

func TestWholeMachine(t *testing.T) {
	t.Parallel()
	for _, p := range []string{"curl", "dig", "iperf3", "setpriv", "nsenter"} {
		need(t, p)
	}
	h := newHouse(t)
	h.ip(h.laptop, "route add default via 192.168.8.1 dev wwan0 metric 700")
	server := h.serve()
	h.start(h.world, "iperf3", "-s", "-B", houseSite)
	settings := settingOf(t, "tun: {device: mps0}") + "admin: 127.0.0.1:9081\n"
	for _, want := range []string{"mps0, with 198.18.255.2, fd6d:7073::ffff:2, takes what this machine's programs send to 0.0.0.0/0, ::/0\n", "28016 on the sockets"} {
		h.merge("client.yaml", settings)
		if out, err := h.script(h.laptop, "mpsocks check -c client.yaml"); err != nil || !strings.Contains(out, want) {
			t.Errorf("check does not say %q: %s", want, out)
		}
	}
	if got := h.fetch("http://example.com/"); got != outside {
		t.Fatalf("before the client: %q", got)
	}
	ends := []func() []string{sniff(h, h.laptop, "eth0"), sniff(h, h.laptop, "wwan0")}
	client := h.connect(settings)
	h.until(10*time.Second, "the device takes the traffic", func() bool { return h.fetch("http://example.com/") == inside })
	for _, dig := range []string{"dig example.com", "dig +tcp example.com", "dig @192.168.1.1 example.com", "dig +tcp @192.168.1.1 example.com"} {
		if out, err := h.script(h.laptop, dig+" +time=3 +tries=3"); err != nil || !strings.Contains(out, "IN\tA\t"+houseSite) {
			t.Errorf("%s: %v %s", dig, err, out)
		}
	}
	for _, args := range []string{"", "-R", "-u -b 10M -l 1200", "-u -b 10M -l 1200 -R"} {
		if out, err := h.script(h.laptop, "iperf3 -t 1 -c "+houseSite+" "+args); err != nil || !strings.Contains(out, "iperf Done.") {
			t.Errorf("iperf3 %s: %v %s", args, err, out)
		}
	}
	if out, err := h.script(h.laptop, "mpsocks doctor -c client.yaml --stun none"); !strings.Contains(out, "what mps0 needs of this machine is there") || strings.Contains(out, "failed ") {
		t.Errorf("doctor: %v\n%s", err, out)
	}
	h.pathDies()
	// Somebody takes the device away, and then the rules.
	h.ip(h.laptop, "link del mps0")
	h.until(20*time.Second, "the device is made anew", func() bool {
		got := h.fetch("http://" + houseSite + "/")
		if got == outside {
			t.Error("without the device it goes around")
		}
		return got == inside
	})
	h.ip(h.laptop, "rule flush protocol 109")
	h.until(20*time.Second, "the rules are back", func() bool { return strings.Contains(h.sh("", "ip -n "+h.laptop+" rule"), "lookup 10952") })
	for _, end := range ends {
		for _, line := range end() {
			t.Error("around the tunnel by ", line)
		}
	}
	// The server of the two namespaces is not in the house's own network, but its router is.
	if err := h.try("ping -c 1 -W 2 192.168.1.1"); err != nil {
		t.Errorf("the local network: %v", err)
	}
	h.exclusions(client, settings)
	h.killed(client, settings)
	h.withoutServer(server, settings)
}

// pathDies takes an uplink away while datagrams go to and fro.
func (h *house) pathDies() {
	h.t.Helper()
	var conn net.Conn
	err := within(h.laptop, func() (err error) { conn, err = net.Dial("udp4", houseSite+":7"); return err })
	if err != nil {
		h.t.Fatal(err)
	}
	defer conn.Close()
	b := make([]byte, 100)
	echoed := func() bool {
		_ = conn.SetDeadline(time.Now().Add(time.Second))
		_, err := conn.Write([]byte("call"))
		if err == nil {
			_, err = conn.Read(b)
		}
		return err == nil
	}
	h.until(10*time.Second, "an echo", echoed)
	h.ip(h.world, "link set w0 down") // behind eth0: nobody tells the laptop's kernel by a route
	h.until(20*time.Second, "an echo after the death of a path", echoed)
	if got := h.fetch("http://example.com/"); got != inside {
		h.t.Errorf("after the death of a path: %q", got)
	}
	h.ip(h.world, "link set w0 up")
	h.until(20*time.Second, "both paths are back", func() bool { return h.try("curl -q -sf -m 1 -o /dev/null http://127.0.0.1:9081/readyz") == nil })
}

// exclusions has the recipe's own exceptions take over while it runs.
func (h *house) exclusions(client *halves.Process, settings string) {
	h.t.Helper()
	rules := settingOf(h.t, "tun:\n")
	rules = strings.Replace(rules, "203.0.113.128/25", houseNames, 1)
	// The names of control groups are hidden by ip netns, and the test's machine may have none.
	rules = strings.Replace(rules, "    - cgroup:system.slice/backup.service\n", "", 1)
	change := func(settings string) {
		h.t.Helper()
		h.merge("client.yaml", settings)
		_, _ = h.script(h.laptop, "kill -HUP $(cat client.pid)")
	}
	if err := os.WriteFile(filepath.Join(h.dir, "client.pid"), []byte(clientPID(h)), 0o600); err != nil {
		h.t.Fatal(err)
	}
	change(rules)
	nobody := "setpriv --reuid 65534 --regid 65534 --clear-groups"
	h.until(10*time.Second, "a user goes around", func() bool { return h.fetch("http://"+houseSite+"/", nobody) == outside })
	for _, c := range []struct{ what, want, got string }{
		{"another user", inside, h.fetch("http://" + houseSite + "/")},
		{"a port", houseEth, h.route(houseSite + ":8080")},
		{"the same port of UDP", machineAddress, h.source(houseSite + ":8080")},
		{"an address", houseEth, h.source(houseNames + ":7")},
		{"another address", machineAddress, h.source(houseSite + ":7")},
	} {
		if c.got != c.want {
			h.t.Errorf("%s: %q, want %q", c.what, c.got, c.want)
		}
	}
	// A mistake changes nothing.
	change("tun: {device: mps0, exclude: [\"user:nobody-here\"]}\n")
	h.until(10*time.Second, "the mistake is said", func() bool { return strings.Contains(client.Output(), "nobody-here") })
	if got := h.fetch("http://"+houseSite+"/", nobody); got != outside {
		h.t.Errorf("after a mistake: %q", got)
	}
	change("tun: {}\n")
	h.until(10*time.Second, "the device is gone", func() bool { return h.fetch("http://"+houseSite+"/") == outside })
	if out := h.sh("", "ip -n "+h.laptop+" link; ip -n "+h.laptop+" rule; ip -n "+h.laptop+" -6 rule"); strings.Contains(out, "mps0") || strings.Contains(out, "109") {
		h.t.Errorf("without tun there is: %s", out)
	}
	change(settingOf(h.t, "tun: {device: mps0}"))
	h.until(10*time.Second, "the device is back", func() bool { return h.fetch("http://"+houseSite+"/") == inside })
}

// clientPID finds the client by its configuration: it was started by `ip netns exec`, which
// becomes it.
func clientPID(h *house) string {
	out, _ := exec.Command("pgrep", "-f", "client -c "+filepath.Join(h.dir, "client.yaml")).Output() // empty fails the caller's
	return strings.TrimSpace(strings.Split(string(out), "\n")[0])
}

// source is the address that a UDP socket of the laptop gets for a destination.
func (h *house) source(to string) (source string) {
	err := within(h.laptop, func() error {
		conn, err := net.Dial("udp", to)
		if err == nil {
			source = conn.LocalAddr().(*net.UDPAddr).IP.String()
			conn.Close()
		}
		return err
	})
	if err != nil {
		return err.Error()
	}
	return source
}

// route is the source address that the kernel chooses for a TCP connection.
func (h *house) route(to string) string {
	host, port, _ := net.SplitHostPort(to)
	out := h.sh("", "ip -n "+h.laptop+" route get "+host+" ipproto tcp dport "+port)
	_, after, _ := strings.Cut(out, " src ")
	return strings.Fields(after + " ?")[0]
}

// withoutServer has the server gone: the traffic stops, or goes around where that is wanted.
func (h *house) withoutServer(server *halves.Process, settings string) {
	h.t.Helper()
	client := h.connect(settings)
	h.until(10*time.Second, "the device is back", func() bool { return h.fetch("http://example.com/") == inside })
	server.Kill()
	for range 3 {
		if got := h.fetch("http://" + houseSite + "/"); strings.Contains(got, "the site") {
			h.t.Errorf("without the server: %q", got)
		}
	}
	h.merge("client.yaml", strings.Replace(settings, "mps0}", "mps0, when_down: around}", 1))
	if _, err := h.script(h.laptop, "kill -HUP "+clientPID(h)); err != nil {
		h.t.Fatal(err)
	}
	h.until(20*time.Second, "it goes around", func() bool { return h.fetch("http://example.com/") == outside })
	h.serve()
	h.until(40*time.Second, "it goes through the tunnel again", func() bool { return h.fetch("http://example.com/") == inside })
	if _, err := client.Stop(); err != nil {
		h.t.Errorf("the client's end: %v", err)
	}
}

// gone waits until nothing of a client that was killed is left but its rules.
func (h *house) gone() {
	h.t.Helper()
	h.until(10*time.Second, "the device and the port are gone", func() bool {
		return !strings.Contains(h.sh("", "ip -n "+h.laptop+" link"), "mps0") && h.sh(h.laptop, "ss -Hltn sport = :1080") == ""
	})
}

// killed has the client killed: nothing goes around, doctor says so, and the next one cleans.
func (h *house) killed(client *halves.Process, settings string) {
	h.t.Helper()
	end := sniff(h, h.laptop, "eth0")
	pid, err := strconv.Atoi(clientPID(h))
	if err != nil {
		h.t.Fatal(err)
	}
	proc, _ := os.FindProcess(pid) // always there on Unix
	if err := proc.Kill(); err != nil {
		h.t.Fatal(err)
	}
	h.gone()
	if got := h.fetch("http://" + houseSite + "/"); strings.Contains(got, "the site") {
		h.t.Errorf("after the client was killed: %q", got)
	}
	if _, err := h.script(h.laptop, "dig +short +time=1 +tries=1 @192.168.1.1 example.com"); err == nil {
		h.t.Error("a question goes to the router after the client was killed")
	}
	if out, _ := h.script(h.laptop, "mpsocks doctor -c client.yaml --stun none"); !strings.Contains(out, "a client that was killed has left") {
		h.t.Errorf("doctor does not say what is left:\n%s", out)
	}
	for _, line := range end() {
		if !strings.Contains(line, houseServer) { // doctor looks at the uplink
			h.t.Error("around the tunnel by ", line)
		}
	}
	p := h.connect(settings)
	h.until(10*time.Second, "the device is back", func() bool { return h.fetch("http://example.com/") == inside })
	if _, err := p.Stop(); err != nil {
		h.t.Errorf("the client's end: %v", err)
	}
	if out := h.sh("", "ip -n "+h.laptop+" rule; ip -n "+h.laptop+" -6 rule"); strings.Contains(out, "109") {
		h.t.Errorf("after an orderly end there is: %s", out)
	}
	if got := h.fetch("http://example.com/"); got != outside {
		h.t.Errorf("after an orderly end: %q", got)
	}
	// A client without the device cleans, too.
	h.connect(settings)
	h.until(10*time.Second, "the device is back", func() bool { return h.fetch("http://example.com/") == inside })
	if pid, err = strconv.Atoi(clientPID(h)); err != nil {
		h.t.Fatal(err)
	}
	proc, _ = os.FindProcess(pid)
	_ = proc.Kill()
	h.gone()
	p = h.connect("tun: {}\nadmin: 127.0.0.1:9081\n")
	if got := h.fetch("http://example.com/"); got != outside {
		h.t.Errorf("with a client that has no device: %q", got)
	}
	if _, err := p.Stop(); err != nil {
		h.t.Errorf("the client's end: %v", err)
	}
}

// A machine with IPv6, and a LAN behind it: both families of both go through the tunnel.
func TestWholeMachineIPv6(t *testing.T) {
	t.Parallel()
	h := newRoutedHouse(t)
	b, err := os.ReadFile(h.file)
	if err == nil {
		err = os.WriteFile(h.file, append(b, "\ntun: {device: mps0}\nrun_socket: \"off\"\n"...), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	client := h.start(h.router, mpsocks, "client", "-c", h.file)
	for range 400 { // until the device is led to
		if strings.Contains(h.in(h.router, "ip", "-6", "rule"), "lookup 10952") {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	leaks := h.start(h.router, "tcpdump", "-lnni", "wan0", "not", "(", "tcp", "port", tunnelPort, "or", "arp", "or", "icmp6", "or", "dst", "net", "ff02::/16", ")")
	for range 400 { // until the session is there
		if strings.Contains(h.in(h.guest, "dig", "+short", "+time=1", "+tries=1", "@"+routedSite, "web.test"), routedSite) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	for _, ns := range []string{h.router, h.guest} {
		for _, server := range []string{routedSite, routedSite6} {
			url := "http://" + server + ":8000/"
			if server == routedSite6 {
				url = "http://[" + server + "]:8000/"
			}
			if out := h.in(ns, "curl", "-sgS", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", url); out != "200" {
				t.Errorf("%s: curl %s: %q", ns, url, out)
			}
			load := [][]string{{"-u", "-b", "10M", "-l", "1200"}, {"-R"}}
			if ns == h.guest {
				load = [][]string{{"-u", "-b", "10M", "-l", "1200", "-R"}}
			}
			for _, args := range load {
				if out := h.in(ns, "iperf3", append([]string{"-c", server, "-t", "1"}, args...)...); !strings.Contains(out, "iperf Done.") {
					t.Errorf("%s: iperf3 %s %q: %s", ns, server, args, out)
				}
			}
			for _, how := range []string{"+notcp", "+tcp"} {
				if out := h.in(ns, "dig", how, "+time=3", "+tries=3", "@"+server, "web.test"); !strings.Contains(out, "SERVER: "+server+"#53") {
					t.Errorf("%s: dig %s @%s: %s", ns, how, server, out)
				}
			}
		}
	}
	if out := h.in(h.router, "ip", "route", "get", "192.168.1.20"); !strings.Contains(out, "br-lan") {
		t.Errorf("the local network: %s", out)
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

// machineInNamespace is a machine of a user who has made the namespaces himself: what
// CAP_NET_ADMIN there allows is enough.
const machineInNamespace = `
# Nothing is left that would write into a directory that goes.
trap 'kill $(jobs -p) || true; wait || true' EXIT
unshare -n sleep 100 & world=$!
while [ "$(readlink /proc/$world/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do sleep 0.05; done
ip link set lo up
ip link add eth0 type veth peer name w0 netns $world
ip addr add 192.168.1.2/24 dev eth0
ip link set eth0 up
there() { nsenter -t $world -n "$@"; }
there ip link set lo up
there ip addr add 192.168.1.1/24 dev w0
there ip addr add 198.51.100.80/32 dev lo
there ip link set w0 up
ip route add default via 192.168.1.1
cd $DIR
# Not by there: a job would be the shell that runs it, which leaves the program behind.
nsenter -t $world -n mpsocks server -c server.yaml >server.log 2>&1 &
nsenter -t $world -n python3 -m http.server --bind 198.51.100.80 8000 >web.log 2>&1 &
mpsocks client -c client.yaml >client.log 2>&1 & client=$!
for i in $(seq 100); do
	got=$(curl -q -s -m 2 -o /dev/null -w '%{http_code} %{local_ip}' http://198.51.100.80:8000/ || true)
	[ "$got" = "200 198.18.255.2" ] && break
	sleep 0.1
done
echo "got $got"
kill $client; wait $client || true
echo "left $(ip rule | grep -c 'proto 109')"
cat client.log
`

func TestWholeMachineUserNamespace(t *testing.T) {
	t.Parallel()
	need(t, "unshare")
	dir := t.TempDir()
	output(t, 20*time.Second, mpsocks, "init", "--server", "192.168.1.1:7443", "--dir", dir)
	for name, add := range map[string]string{
		"client.yaml": "\ntun: {device: mps0}\nrun_socket: \"off\"\nstate_dir: " + dir + "\n",
		"server.yaml": "\nstate_dir: " + dir + "\n",
	} {
		path := filepath.Join(dir, name)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.Replace(string(b), "allow: []", "allow: [198.51.100.0/24]", 1)
		if err := os.WriteFile(path, []byte(text+add), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "unshare", "-Urnm", "bash", "-ec", machineInNamespace)
	cmd.Env = append(os.Environ(), "DIR="+dir, "PATH="+filepath.Dir(mpsocks)+":"+os.Getenv("PATH")+":/usr/sbin")
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	switch {
	case strings.Contains(string(out), "unshare failed"):
		t.Skipf("this user may make no user namespace: %s", out)
	case strings.Contains(string(out), "/dev/net/tun: permission denied"):
		t.Skip("this user may not open /dev/net/tun")
	case err != nil && !strings.Contains(string(out), "got "), !strings.Contains(string(out), "got 200 198.18.255.2\n"), !strings.Contains(string(out), "left 0\n"):
		t.Errorf("%v: %s", err, out)
	}
}
