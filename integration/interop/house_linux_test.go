package interop

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netns"

	"github.com/mpsocks/mpsocks/integration/bench/halves"
)

// A house is a laptop with two uplinks and an internet with the server's half, in network
// namespaces of their own. What the recipes name has its own name and address there, so
// that their text is run as it stands: the devices eth0 and wwan0, the proxy 127.0.0.1:1080,
// the server 203.0.113.5:7443, the name server 9.9.9.9, and example.com with all below it.
type house struct {
	t             *testing.T
	laptop, world string // namespaces
	dir           string // of the halves' files
}

// The addresses of a house.
const (
	houseServer = "203.0.113.5"
	houseNames  = "9.9.9.9"
	houseSite   = "198.51.100.80" // example.com: a web site at port 80, an echo at port 7
	houseEth    = "192.168.1.2"
	houseLTE    = "192.168.8.100"
)

// newHouse makes one whose server runs, and whose laptop has a default route by eth0 only.
func newHouse(t *testing.T) *house {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces take root")
	}
	for _, p := range []string{"ip", "dnsmasq", "tcpdump"} {
		need(t, p)
	}
	name := unique()
	h := &house{t: t, laptop: "mphome" + name, world: "mpworld" + name, dir: t.TempDir()}
	for _, ns := range []string{h.laptop, h.world} {
		if out, err := exec.Command("ip", "netns", "add", ns).CombinedOutput(); err != nil {
			t.Skipf("no namespace can be made here: %s", out)
		}
		etc := filepath.Join("/etc/netns", ns)
		t.Cleanup(func() {
			_ = exec.Command("ip", "netns", "del", ns).Run()
			_ = os.RemoveAll(etc)
		})
		if err := os.MkdirAll(etc, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(etc, "resolv.conf"), []byte("nameserver "+houseNames+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		h.ip(ns, "link set lo up")
	}
	for i, device := range []string{"eth0", "wwan0"} {
		h.sh("", fmt.Sprintf("ip link add %s netns %s type veth peer name w%d netns %s", device, h.laptop, i, h.world))
		h.ip(h.world, fmt.Sprintf("addr add 192.168.%d.1/24 dev w%d", 1+7*i, i))
		h.ip(h.world, fmt.Sprintf("link set w%d up", i))
	}
	h.ip(h.laptop, "addr add "+houseEth+"/24 dev eth0")
	h.ip(h.laptop, "addr add "+houseLTE+"/24 dev wwan0")
	h.ip(h.laptop, "link set eth0 up")
	h.ip(h.laptop, "link set wwan0 up")
	h.ip(h.laptop, "route add default via 192.168.1.1 dev eth0 metric 100")
	for _, a := range []string{houseServer, houseNames, houseSite} {
		h.ip(h.world, "addr add "+a+"/32 dev lo")
	}
	h.start(h.world, "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root", "--pid-file=",
		"--listen-address="+houseNames, "--bind-interfaces", "--address=/example.com/"+houseSite, "--address=/server.test/"+houseServer)
	h.site()
	h.sh("", fmt.Sprintf("%s init --server %s:7443 --dir %s", mpsocks, houseServer, h.dir))
	h.merge("server.yaml", "relay: {allow: [203.0.113.0/24, 198.51.100.0/24, 9.9.9.9]}\nstate_dir: "+h.dir+"/server\nadmin: 127.0.0.1:9082\n")
	return h
}

// site serves example.com: "the site" over HTTP, and an echo of datagrams.
func (h *house) site() {
	var web net.Listener
	var echo net.PacketConn
	err := within(h.world, func() (err error) {
		if web, err = net.Listen("tcp4", houseSite+":80"); err == nil {
			echo, err = net.ListenPacket("udp4", houseSite+":7")
		}
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "the site") })}
	done := make(chan struct{}, 2)
	go func() { // ends with its server
		_ = server.Serve(web)
		done <- struct{}{}
	}()
	go func() { // ends with its socket
		echoDatagrams(echo)
		done <- struct{}{}
	}()
	h.t.Cleanup(func() {
		server.Close()
		echo.Close()
		<-done
		<-done
	})
}

// within calls f in a namespace; sockets that it makes stay there.
func within(namespace string, f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		n, err := netns.GetFromName(namespace)
		if err == nil {
			defer n.Close()
			err = netns.Set(n)
		}
		if err == nil {
			err = f()
		}
		result <- err
	}()
	return <-result
}

// merge puts settings into one of the halves' files, in place of those of the same names.
func (h *house) merge(name, settings string) {
	h.t.Helper()
	key := func(line string) string {
		before, _, found := strings.Cut(line, ":")
		if !found || strings.ContainsAny(line[:1], " #-\n") {
			return ""
		}
		return before
	}
	given := map[string]bool{}
	for line := range strings.Lines(settings) {
		given[key(line)] = true
	}
	delete(given, "")
	path := filepath.Join(h.dir, name)
	old, err := os.ReadFile(path)
	if err != nil {
		h.t.Fatal(err)
	}
	var kept strings.Builder
	drop := false
	for line := range strings.Lines(string(old)) {
		if k := key(line); k != "" {
			drop = given[k]
		}
		if !drop {
			kept.WriteString(line)
		}
	}
	if err := os.WriteFile(path, []byte(kept.String()+"\n"+settings), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

// permit lets the client publish ports of the server, before it starts.
func (h *house) permit(ports string) {
	h.t.Helper()
	path := filepath.Join(h.dir, "server.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		h.t.Fatal(err)
	}
	const client = `{name: "laptop", `
	if !strings.Contains(string(text), client) {
		h.t.Fatalf("the server's file has no client:\n%s", text)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(text), client, client+"publish: ["+ports+"], ", 1)), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

// serve starts the server's half.
func (h *house) serve() *halves.Process {
	h.t.Helper()
	return h.start(h.world, mpsocks, "server", "-c", filepath.Join(h.dir, "server.yaml"))
}

// connect starts the client with these settings, and waits until it is ready.
func (h *house) connect(settings string) *halves.Process {
	h.t.Helper()
	h.merge("client.yaml", settings+"\nstate_dir: "+h.dir+"/client\nrun_socket: \"off\"\n")
	p := h.start(h.laptop, mpsocks, "client", "-c", filepath.Join(h.dir, "client.yaml"))
	h.until(20*time.Second, "the client is ready", func() bool {
		return h.try("curl -q -sf -m 1 -o /dev/null http://127.0.0.1:9081/readyz") == nil
	})
	return p
}

// start runs a program in a namespace until the test ends.
func (h *house) start(namespace, program string, args ...string) *halves.Process {
	h.t.Helper()
	p, err := halves.Run("ip", append([]string{"netns", "exec", namespace, program}, args...)...)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		p.Kill()
		if h.t.Failed() {
			h.t.Logf("%s %.1000q said:\n%s", filepath.Base(program), args, p.Output())
		}
	})
	return p
}

// ip runs an ip command in a namespace.
func (h *house) ip(namespace, command string) {
	h.t.Helper()
	h.sh("", "ip -n "+namespace+" "+command)
}

// sh runs a script in a namespace, or here, and returns what it said.
func (h *house) sh(namespace, script string) string {
	h.t.Helper()
	out, err := h.script(namespace, script)
	if err != nil {
		h.t.Fatalf("%s: %v: %s", script, err, out)
	}
	return out
}

// try runs a script on the laptop, which may fail.
func (h *house) try(script string) error {
	_, err := h.script(h.laptop, script)
	return err
}

func (h *house) script(namespace, script string) (string, error) {
	args := []string{"/bin/sh", "-ec", script}
	if namespace != "" {
		args = append([]string{"ip", "netns", "exec", namespace}, args...)
	}
	cmd := exec.CommandContext(h.t.Context(), args[0], args[1:]...)
	// Nothing of this user's settings shall decide how it reaches the network.
	cmd.Env = []string{"PATH=" + filepath.Dir(mpsocks) + ":" + os.Getenv("PATH") + ":/usr/sbin", "HOME=" + h.dir, "LANG=C.UTF-8"}
	cmd.Dir, cmd.WaitDelay = h.dir, time.Second
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// listens waits until a TCP port of a namespace answers.
func (h *house) listens(namespace, address string) {
	h.t.Helper()
	h.until(20*time.Second, "somebody listens at "+address, func() bool {
		return within(namespace, func() error {
			c, err := net.DialTimeout("tcp", address, time.Second)
			if err == nil {
				c.Close()
			}
			return err
		}) == nil
	})
}

// until waits for something.
func (h *house) until(limit time.Duration, what string, ok func() bool) {
	h.t.Helper()
	for end := time.Now().Add(limit); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			h.t.Fatalf("not within %v: %s", limit, what)
		}
	}
}

// leaks watches eth0 for all that is not the tunnel. What it returns ends the watch and
// says what went by.
func (h *house) leaks() func() []string {
	h.t.Helper()
	p := h.start(h.laptop, "tcpdump", "-lnni", "eth0", "ip", "and", "not", "(", "tcp", "port", "7443", ")")
	h.until(10*time.Second, "tcpdump listens", func() bool { return strings.Contains(p.Output(), "listening on") })
	return func() (seen []string) {
		time.Sleep(200 * time.Millisecond) // what was sent last is written
		_, _ = p.Stop()
		for line := range strings.Lines(p.Output()) {
			if strings.Contains(line, " > ") {
				seen = append(seen, strings.TrimSpace(line))
			}
		}
		return seen
	}
}
