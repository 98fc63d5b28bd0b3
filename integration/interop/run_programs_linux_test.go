package interop

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"
	"github.com/vishvananda/netns"

	"github.com/mpsocks/mpsocks/integration/bench/halves"
)

// inNamespace runs f in a network namespace; sockets that it makes stay there.
func inNamespace(t *testing.T, name string, f func() error) {
	t.Helper()
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		h, err := netns.GetFromName(name)
		if err == nil {
			defer h.Close()
			err = netns.Set(h)
		}
		if err == nil {
			err = f()
		}
		result <- err
	}()
	if err := <-result; err != nil {
		t.Fatal(err)
	}
}

// asRoot runs a program in the tunnel as root, by a client of its own.
func (l *land) asRoot(args ...string) (out string, status syscall.WaitStatus) {
	l.t.Helper()
	cmd := exec.Command("ip", append([]string{"netns", "exec", l.near, mpsocks, "run", "-c", l.file, "--"}, args...)...)
	b, _ := cmd.CombinedOutput()
	return string(b), cmd.ProcessState.Sys().(syscall.WaitStatus)
}

// Programs of every day that speak no SOCKS, of a user without a privilege and of root.
func TestRunPrograms(t *testing.T) {
	t.Parallel()
	l := newLand(t)
	defer l.away()()
	l.startClient()
	socket := []string{"--socket", filepath.Join(l.dir, "run", "run.sock")}
	t.Run("ssh with a terminal", func(t *testing.T) { l.ssh(t, socket) })
	t.Run("chromium by HTTP 3", func(t *testing.T) { l.chromium(t, socket) })
	t.Run("STUN", func(t *testing.T) { l.stun(t, socket) })
	t.Run("WireGuard", func(t *testing.T) { l.wireguard(t) })
	t.Run("headers and sizes", func(t *testing.T) { l.headers(t, socket) })
	t.Run("signals", func(t *testing.T) { l.signals(t, socket) })
	t.Run("loopback", func(t *testing.T) { l.loopback(t, socket) })
}

// ssh asks for a terminal at both ends, and has one.
func (l *land) ssh(t *testing.T, flags []string) {
	need(t, "ssh")
	need(t, "script")
	keygen, sshd := need(t, "ssh-keygen"), need(t, "/usr/sbin/sshd")
	keys := filepath.Join(l.dir, "run")
	for _, name := range []string{"host", "mine"} {
		output(t, 10*time.Second, keygen, "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(keys, name))
	}
	l.sh("cp %[1]s/mine.pub %[1]s/allowed && chmod 644 %[1]s/allowed && chown 65534:65534 %[1]s/mine", keys)
	if err := os.Chmod(filepath.Dir(mpsocks), 0o755); err != nil { // a shell of nobody's starts it
		t.Fatal(err)
	}
	_ = os.MkdirAll("/run/sshd", 0o755) // sshd of root wants it
	config := file(t, "sshd_config", fmt.Sprintf("Port 2222\nListenAddress %s\nHostKey %s/host\nAuthorizedKeysFile %s/allowed\nPermitRootLogin yes\nStrictModes no\nUsePAM no\nPidFile none\n",
		farAddress, keys, keys))
	l.start(l.far, sshd, "-D", "-e", "-f", config)
	line := strings.Join(append(append([]string{mpsocks, "run"}, flags...), "--", "ssh", "-F", "none", "-tt", "-i", keys+"/mine",
		"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "ConnectionAttempts=5",
		"-p", "2222", "root@"+farAddress, "'tty; stty size; read x; echo typed \\$x; exit 9'"), " ")
	// script(1) is the terminal of the one who types.
	args := l.asNobody("sh", "-c", `(sleep 3; echo hello) | script -qec "stty rows 33 cols 77; `+line+`" /dev/null`)
	cmd := exec.Command(args[0], args[1:]...)
	out, _ := cmd.CombinedOutput()
	for _, want := range []string{"/dev/pts/", "33 77", "typed hello"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in what ssh says: %q", want, out)
		}
	}
	if code := cmd.ProcessState.ExitCode(); code != 9 {
		t.Errorf("exit status %d, want 9", code)
	}
}

// chromium loads a page by HTTP/3, from a server that speaks nothing else.
func (l *land) chromium(t *testing.T, flags []string) {
	chromium := need(t, "chromium")
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "web.test"}, DNSNames: []string{"web.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(public)
	var conn net.PacketConn
	inNamespace(t, l.far, func() (err error) {
		conn, err = net.ListenPacket("udp4", farAddress+":4433")
		return err
	})
	server := &http3.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprintf(w, "<!doctype html><title>page</title><p id=how>by %s</p>%s", r.Proto, strings.Repeat("<!-- of some size -->\n", 20000))
		}),
		TLSConfig: http3.ConfigureTLSConfig(&tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}),
	}
	served := make(chan struct{})
	go func() { // ends with the server
		defer close(served)
		_ = server.Serve(conn)
	}()
	defer func() {
		server.Close()
		conn.Close()
		<-served
	}()
	out, st := l.run(flags, "timeout", "25", chromium, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--user-data-dir="+filepath.Join(l.dir, "run", "chromium"),
		"--origin-to-force-quic-on=web.test:4433", "--ignore-certificate-errors-spki-list="+base64.StdEncoding.EncodeToString(sum[:]),
		"--dump-dom", "https://web.test:4433/")
	if !strings.Contains(out, `id="how">by HTTP/3`) {
		t.Errorf("%d: %.3000s", st.ExitStatus(), out)
	}
}

// stun asks a server with two addresses what it is behind (RFC 3489): one port whatever
// it sends to, and whoever may answer.
func (l *land) stun(t *testing.T, flags []string) {
	need(t, "stun")
	stund := need(t, "/usr/sbin/stund")
	const other = "10.55.0.3"
	l.sh("ip -n %s addr add %s/24 dev v1", l.far, other)
	l.start(l.far, stund, "-h", farAddress, "-a", other)
	said := ""
	for range 3 { // it asks each question a few times, and no more
		said, _ = l.run(flags, "stun", farAddress)
		if strings.Contains(said, "Independent Mapping, Independent Filter") {
			return
		}
	}
	t.Errorf("stun says %q", said)
}

// wireguard has the user-space WireGuard of root in the program's namespace.
func (l *land) wireguard(t *testing.T) {
	wireguard, wg := need(t, "wireguard-go"), need(t, "wg")
	private, public := wireguardKeys(t, wg)
	name := fmt.Sprintf("mpsr%d", os.Getpid()%100000)
	var scripts [2]string
	for i := range scripts {
		text := fmt.Sprintf("[Interface]\nPrivateKey = %s\n", private[i])
		if i == 1 {
			text += "ListenPort = 51820\n"
		}
		text += fmt.Sprintf("[Peer]\nPublicKey = %s\nAllowedIPs = 10.98.7.0/24\n", public[1-i])
		if i == 0 {
			text += "Endpoint = " + farAddress + ":51820\n"
		}
		device := fmt.Sprintf("%s%c", name, 'a'+i)
		scripts[i] = file(t, device+".sh", fmt.Sprintf(`set -e
%[1]s --foreground %[2]s >/dev/null 2>&1 &
daemon=$!
trap 'kill $daemon; rm -f /var/run/wireguard/%[2]s.sock' EXIT
for i in $(seq 100); do %[3]s setconf %[2]s %[4]s 2>/dev/null && break; sleep .1; done
ip addr add 10.98.7.%[5]d/24 dev %[2]s
ip link set %[2]s mtu 1420 up
`, wireguard, device, wg, file(t, device+".conf", text), i+1))
		t.Cleanup(func() { _ = os.Remove("/var/run/wireguard/" + device + ".sock") })
	}
	l.sh("echo 'echo is up; sleep 60' >> %s", scripts[1])
	far := l.start(l.far, "sh", scripts[1])
	for range 200 {
		if strings.Contains(far.Output(), "is up") {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	l.sh("echo 'ping -c 10 -i .1 -W 2 -s 1392 10.98.7.2; iperf3 -c 10.98.7.2 -t 1; sleep 1; iperf3 -c 10.98.7.2 -t 1 -R; sleep 1; iperf3 -u -b 10M -l 1200 -c 10.98.7.2 -t 1' >> %s", scripts[0])
	out, st := l.asRoot("sh", scripts[0])
	if st.ExitStatus() != 0 || !strings.Contains(out, "10 received") {
		t.Errorf("%d: %s", st.ExitStatus(), out)
	}
}

// headers: the time to live, DSCP and ECN go along both ways, datagrams of every length
// arrive whole, bursts in one piece and fragments too, and the device's MTU is the truth.
func (l *land) headers(t *testing.T, flags []string) {
	echo, ask := filepath.Join(l.dir, "tellecho.py"), filepath.Join(l.dir, "tellask.py")
	for _, p := range []string{echo, ask} {
		b, err := os.ReadFile(filepath.Join("testdata", filepath.Base(p)))
		if err == nil {
			err = os.WriteFile(p, b, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	sizes := map[string][]string{
		farAddress:  {"13", "1472", "1473", "9000", "65000", "65507"},
		farAddress6: {"13", "1452", "1453", "9000", "65000", "65479", "65480", "65487", "65527"}, // from 65,488 on the kernel cuts
	}
	for address, lengths := range sizes {
		l.start(l.far, python, echo, address, "7777")
		l.bound(address, "7777")
		out, st := l.run(flags, append([]string{python, ask, address, "7777"}, lengths...)...)
		if st.ExitStatus() != 0 || !strings.Contains(out, "mtu 65535\nok") {
			t.Errorf("%s: %d: %s", address, st.ExitStatus(), out)
		}
		// With a short MTU the kernel cuts all that is long.
		cut := fmt.Sprintf("ip link set mpsocks0 mtu 1400; sed 's/s.setsockopt(socket.IPPROTO_IP, 10, 2)/pass/' %s > %s/cut.py; exec %s %s/cut.py %s 7777 %s",
			ask, l.dir, python, l.dir, address, strings.Join(lengths, " "))
		out, st = l.asRoot("sh", "-c", cut)
		if st.ExitStatus() != 0 || !strings.Contains(out, "mtu 1400\nok") {
			t.Errorf("%s, in fragments: %d: %s", address, st.ExitStatus(), out)
		}
	}
}

// signals: one that ends the program ends mpsocks run, too; one to mpsocks run is the
// program's.
func (l *land) signals(t *testing.T, flags []string) {
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGKILL, syscall.SIGSEGV, syscall.SIGABRT, syscall.SIGQUIT, syscall.SIGBUS, syscall.SIGFPE} {
		if signal.Ignored(s) { // by nohup, and so by all that the tests start
			continue
		}
		if out, st := l.run(flags, "sh", "-c", fmt.Sprintf("kill -%d $$; sleep 5", s)); st.Signal() != s && st.ExitStatus() != 128+int(s) {
			t.Errorf("%v: status %#x %s", s, st, out)
		}
	}
	args := append(append([]string{mpsocks, "run"}, flags...), "--", "sh", "-c", "trap 'echo caught; exit 9' TERM; echo ready; while :; do sleep .1; done")
	args = l.asNobody(args...)
	p, err := halves.Run(args[0], args[1:]...)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	for range 200 {
		if strings.Contains(p.Output(), "ready") {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err := syscall.Kill(p.PID(), syscall.SIGTERM); err != nil { // all of what starts it is exec'ed
		t.Fatal(err)
	}
	_ = p.Wait(10 * time.Second)
	if !strings.Contains(p.Output(), "caught") {
		t.Errorf("the program was not told: %q", p.Output())
	}
}

// loopback: what listens on this machine's own is out of reach, but for named ports.
func (l *land) loopback(t *testing.T, flags []string) {
	l.start(l.near, python, "-m", "http.server", "--bind", "127.0.0.1", "--directory", l.dir, "8081")
	for range 200 {
		if exec.Command("ip", "netns", "exec", l.near, "curl", "-s", "-o", "/dev/null", "http://127.0.0.1:8081/").Run() == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	curl := []string{"curl", "-s", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", "http://127.0.0.1:8081/"}
	if out, st := l.run(flags, curl...); st.ExitStatus() != 7 {
		t.Errorf("without --loopback: %d, %s", st.ExitStatus(), out)
	}
	if out, st := l.run(append(flags[:len(flags):len(flags)], "--loopback", "8081"), curl...); st.ExitStatus() != 0 || out != "200" {
		t.Errorf("with it: %d, %s", st.ExitStatus(), out)
	}
}
