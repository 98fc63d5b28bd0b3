package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/integration/bench/halves"
)

// What the recipe whole-machine.md says of the start, of ordinary users and of path death.

// led waits until the rules lead the laptop's traffic to the device.
func (h *house) led() {
	h.t.Helper()
	h.until(60*time.Second, "the traffic is led to the device", func() bool {
		return strings.Contains(h.sh("", "ip -n "+h.laptop+" rule"), "lookup 10952")
	})
}

// The server is known by a name only, and for a while nobody answers for it: nothing of the
// machine's goes around the tunnel meanwhile, and when the name is found all goes through.
func TestWholeMachineByName(t *testing.T) {
	t.Parallel()
	for _, p := range []string{"curl", "dig", "nft"} {
		need(t, p)
	}
	h := newHouse(t)
	h.serve()
	b, err := os.ReadFile(filepath.Join(h.dir, "client.yaml"))
	if err != nil || !strings.Contains(string(b), houseServer) {
		t.Fatalf("%v: %s", err, b)
	}
	named := strings.Replace(string(b), houseServer, "vpn.server.test", 1)
	if err := os.WriteFile(filepath.Join(h.dir, "client.yaml"), []byte(named), 0o600); err != nil {
		t.Fatal(err)
	}
	h.merge("client.yaml", settingOf(t, "tun: {device: mps0}")+"admin: 127.0.0.1:9081\nrun_socket: \"off\"\nstate_dir: "+h.dir+"/client\n")
	if got := h.fetch("http://" + houseSite + "/"); got != outside {
		t.Fatalf("before the client: %q", got)
	}
	h.sh(h.world, "nft 'table inet mute { chain in { type filter hook input priority 0; udp dport 53 drop; tcp dport 53 drop; }; }'")
	end := sniff(h, h.laptop, "eth0")
	h.start(h.laptop, mpsocks, "client", "-c", filepath.Join(h.dir, "client.yaml"))
	h.led()
	for range 3 {
		if out, err := h.script(h.laptop, "curl -q -sS -m 2 http://"+houseSite+"/"); err == nil || strings.Contains(out, "the site") {
			t.Errorf("while the server is not found: %q", out)
		}
	}
	if _, err := h.script(h.laptop, "dig +short +time=1 +tries=1 @192.168.1.1 secret.example.com"); err == nil {
		t.Error("the router answers a question while the server is not found")
	}
	h.sh(h.world, "nft delete table inet mute")
	h.until(30*time.Second, "it goes through the tunnel", func() bool { return h.fetch("http://"+houseSite+"/") == inside })
	for _, line := range end() {
		// The client's own question is all that is seen.
		if !strings.Contains(line, houseNames+".53") || strings.Contains(line, "secret") || strings.Contains(line, "example") {
			t.Error("around the tunnel by ", line)
		}
	}
}

// machineUser are the privileges of a service that has CAP_NET_ADMIN and no other.
const machineUser = "mount -t tmpfs none /dev/net && mknod /dev/net/tun c 10 200 && chmod 666 /dev/net/tun && " +
	"exec setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all,+net_admin --ambient-caps=-all,+net_admin --bounding-set=-all,+net_admin --no-new-privs \"$@\""

// An ordinary user with CAP_NET_ADMIN and nothing else, as the recipe's unit has it, leads
// the machine's traffic as root does.
func TestWholeMachineOrdinaryUser(t *testing.T) {
	t.Parallel()
	for _, p := range []string{"curl", "setpriv", "unshare"} {
		need(t, p)
	}
	h := newHouse(t)
	h.serve()
	for p := h.dir; p != os.TempDir() && p != "/"; p = filepath.Dir(p) {
		if err := os.Chmod(p, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	start := func(settings string) *halves.Process {
		h.merge("client.yaml", settings+"paths: [{name: dsl, bind: eth0}]\nadmin: 127.0.0.1:9081\nrun_socket: \"off\"\nstate_dir: "+h.dir+"/state\n")
		h.sh("", fmt.Sprintf("mkdir -p %[1]s/state && chown -R 65534:65534 %[1]s/state %[1]s/client.yaml", h.dir))
		return h.start(h.laptop, "unshare", "-m", "sh", "-c", machineUser, "sh", mpsocks, "client", "-c", filepath.Join(h.dir, "client.yaml"))
	}
	client := start("tun: {device: mps0, exclude: [\"user:1000-1001\"]}\n")
	h.led()
	end := sniff(h, h.laptop, "eth0")
	h.until(20*time.Second, "the device takes the traffic", func() bool { return h.fetch("http://example.com/") == inside })
	if out := h.sh("", "ip -n "+h.laptop+" rule"); !strings.Contains(out, "uidrange 1000-1001") {
		t.Errorf("no rule for the users: %s", out)
	}
	for _, line := range end() {
		t.Error("around the tunnel by ", line)
	}
	if _, err := client.Stop(); err != nil {
		t.Errorf("the client's end: %v", err)
	}
	if out := h.sh("", "ip -n "+h.laptop+" rule; ip -n "+h.laptop+" -6 rule; ip -n "+h.laptop+" link"); strings.Contains(out, "109") || strings.Contains(out, "mps0") {
		t.Errorf("after an orderly end there is: %s", out)
	}
}

// A path dies beneath two calls of one machine, one by the device and one through SOCKS: the
// one goes on as the other.
func TestWholeMachinePathDeath(t *testing.T) {
	h := newHouse(t)
	h.ip(h.laptop, "route add default via 192.168.8.1 dev wwan0 metric 700")
	h.serve()
	for _, name := range []string{"tellecho.py", "call.py"} {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err == nil {
			err = os.WriteFile(filepath.Join(h.dir, name), b, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	h.start(h.world, python, filepath.Join(h.dir, "tellecho.py"), houseSite, "7777")
	h.connect(settingOf(t, "tun: {device: mps0}") + "admin: 127.0.0.1:9081\n")
	h.until(20*time.Second, "the device takes the traffic", func() bool { return h.fetch("http://example.com/") == inside })
	const seconds = 5
	calls := map[string]*halves.Process{}
	for name, port := range map[string][]string{"tun": nil, "SOCKS": {"1080"}} {
		calls[name] = h.start(h.laptop, python, append([]string{filepath.Join(h.dir, "call.py"), houseSite, "7777", fmt.Sprint(seconds)}, port...)...)
	}
	for _, p := range calls {
		h.until(20*time.Second, "a call begins", func() bool { return strings.Contains(p.Output(), "begins") })
	}
	time.Sleep(1500 * time.Millisecond)
	h.ip(h.world, "link set w0 down")
	judgeCalls(t, calls, seconds)
}
