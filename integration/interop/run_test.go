package interop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/integration/bench/halves"
)

// A land is two namespaces: programs and the client in one, the server, a web site,
// a name server and an echo in the other, with nothing but a cable between them.
type land struct {
	t         *testing.T
	near, far string
	dir, file string
}

const (
	farAddress  = "10.55.0.1"
	farAddress6 = "fd55::1"
	tunnelPort  = "7443"
	publishPort = "27015" // that the client may publish
)

// newLand makes one; programs of its client run as a user that has nothing.
func newLand(t *testing.T) *land {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, for network namespaces")
	}
	for _, p := range []string{"ip", "unshare", "setpriv", "dnsmasq", "tcpdump", "curl", "dig", "iperf3"} {
		need(t, p)
	}
	name := unique()
	l := &land{t: t, near: "mprun-a" + name, far: "mprun-b" + name, dir: t.TempDir()}
	for p := l.dir; p != os.TempDir() && p != "/"; p = filepath.Dir(p) {
		if err := os.Chmod(p, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, ns := range []string{l.near, l.far} {
		l.sh("ip netns add %s && ip -n %s link set lo up", ns, ns)
		t.Cleanup(func() { exec.Command("ip", "netns", "del", ns).Run() })
	}
	l.sh("ip link add v0 netns %s type veth peer name v1 netns %s", l.near, l.far)
	l.sh("ip -n %[1]s addr add 10.55.0.2/24 dev v0 && ip -n %[1]s addr add fd55::2/64 dev v0 nodad && ip -n %[1]s link set v0 up", l.near)
	l.sh("ip -n %[1]s addr add %[2]s/24 dev v1 && ip -n %[1]s addr add %[3]s/64 dev v1 nodad && ip -n %[1]s link set v1 up", l.far, farAddress, farAddress6)
	os.MkdirAll("/etc/netns/"+l.far, 0o755)
	t.Cleanup(func() { os.RemoveAll("/etc/netns/" + l.far) })
	if err := os.WriteFile("/etc/netns/"+l.far+"/resolv.conf", []byte("nameserver "+farAddress+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	l.configure()
	l.start(l.far, mpsocks, "server", "-c", filepath.Join(l.dir, "server.yaml"))
	l.start(l.far, "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root", "--pid-file=",
		"--listen-address="+farAddress, "--bind-interfaces", "--address=/web.test/"+farAddress, "--address=/six.test/"+farAddress6)
	l.start(l.far, python, "-m", "http.server", "--bind", "::", "--directory", l.dir, "8000")
	l.start(l.far, "iperf3", "-s")
	return l
}

// configure writes both files; the client's belongs to nobody.
func (l *land) configure() {
	l.sh("%s init --server %s:%s --dir %s", mpsocks, farAddress, tunnelPort, l.dir)
	l.edit("server.yaml", "allow: []", `allow: ["10.55.0.0/16", "fd55::/16"]`)
	l.edit("server.yaml", `{name: "laptop", `, `{name: "laptop", publish: [`+publishPort+`], `)
	l.file = filepath.Join(l.dir, "client.yaml")
	b, err := os.ReadFile(l.file)
	if err == nil {
		err = os.WriteFile(l.file, append(b, "\nrun_socket: "+filepath.Join(l.dir, "run", "run.sock")+"\n"...), 0o600)
	}
	if err == nil {
		err = os.Mkdir(filepath.Join(l.dir, "run"), 0o755)
	}
	if err != nil {
		l.t.Fatal(err)
	}
	l.sh("chown -R 65534:65534 %s %s/run", l.file, l.dir)
}

func (l *land) edit(name, old, with string) {
	l.t.Helper()
	path := filepath.Join(l.dir, name)
	b, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(b), old) {
		l.t.Fatalf("%s has no %q (%v)", name, old, err)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(b), old, with, 1)), 0o600); err != nil {
		l.t.Fatal(err)
	}
}

func (l *land) sh(format string, args ...any) {
	l.t.Helper()
	line := fmt.Sprintf(format, args...)
	if out, err := exec.Command("sh", "-c", line).CombinedOutput(); err != nil {
		l.t.Fatalf("%s: %v\n%s", line, err, out)
	}
}

func (l *land) start(ns, program string, args ...string) *halves.Process {
	l.t.Helper()
	p, err := halves.Run("ip", append([]string{"netns", "exec", ns, program}, args...)...)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() {
		p.Kill()
		if l.t.Failed() {
			l.t.Logf("%s said:\n%s", program, p.Output())
		}
	})
	return p
}

// asNobody is the command line of a program beside the client, as a user without a
// privilege, where /dev/net/tun is open to all.
func (l *land) asNobody(args ...string) []string {
	const setUp = "mount -t tmpfs none /dev/net && mknod /dev/net/tun c 10 200 && chmod 666 /dev/net/tun && " +
		"exec setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all --bounding-set=-all \"$@\""
	return append([]string{"ip", "netns", "exec", l.near, "unshare", "-m", "sh", "-c", setUp, "sh"}, args...)
}

// startClient starts the client as nobody and waits for its socket.
func (l *land) startClient() *halves.Process {
	l.t.Helper()
	args := l.asNobody(mpsocks, "client", "-c", l.file)
	p, err := halves.Run(args[0], args[1:]...)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() {
		p.Kill()
		if l.t.Failed() {
			l.t.Logf("client said:\n%s", p.Output())
		}
	})
	for range 100 {
		if _, err := os.Stat(filepath.Join(l.dir, "run", "run.sock")); err == nil {
			return p
		}
		time.Sleep(50 * time.Millisecond)
	}
	l.t.Fatal("the client's socket does not appear")
	return nil
}

// run runs a program in the tunnel and returns what it said and how it ended.
func (l *land) run(flags []string, args ...string) (out string, status syscall.WaitStatus) {
	l.t.Helper()
	line := append([]string{mpsocks, "run"}, flags...)
	line = l.asNobody(append(append(line, "--"), args...)...)
	ctx, cancel := context.WithTimeout(l.t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	cmd.WaitDelay = time.Second
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		l.t.Fatalf("%q: %v", args, err)
	}
	return said.String(), cmd.ProcessState.Sys().(syscall.WaitStatus)
}

// Programs that know nothing of proxies, run by a user without a privilege, have
// the tunnel as their only way out, by the running client and by one of their own.
func TestRun(t *testing.T) {
	t.Parallel()
	l := newLand(t)
	end := l.away()
	socket := []string{"--socket", filepath.Join(l.dir, "run", "run.sock")}
	client := l.startClient()
	for name, flags := range map[string][]string{"the running client": socket, "a client of its own": {"-c", l.file}} {
		if out, st := l.run(flags, "id", "-u"); strings.TrimSpace(out) != "65534" || st.ExitStatus() != 0 {
			t.Errorf("%s: user %q", name, out)
		}
		if out, st := l.run(flags, "sh", "-c", "exit 7"); st.ExitStatus() != 7 {
			t.Errorf("%s: exit status %d, want 7 (%s)", name, st.ExitStatus(), out)
		}
		if out, st := l.run(flags, "sh", "-c", "kill -9 $$"); st.ExitStatus() != 128+9 && st.Signal() != syscall.SIGKILL {
			t.Errorf("%s: status %v of a killed program (%s)", name, st, out)
		}
		if out, st := l.run(flags, "no-such-program"); st.ExitStatus() != 127 || !strings.Contains(out, "no such program") {
			t.Errorf("%s: %d, %q", name, st.ExitStatus(), out)
		}
		if out, _ := l.run(flags, "dig", "+short", "+time=3", "+tries=1", "web.test"); strings.TrimSpace(out) != farAddress {
			t.Errorf("%s: dig said %q", name, out)
		}
		if out, _ := l.run(flags, "dig", "+tcp", "+short", "+time=3", "+tries=1", "web.test"); strings.TrimSpace(out) != farAddress {
			t.Errorf("%s: dig over TCP said %q", name, out)
		}
		for _, url := range []string{"http://web.test:8000/", "http://" + farAddress + ":8000/", "http://[" + farAddress6 + "]:8000/"} {
			if out, st := l.run(flags, "curl", "-sgS", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", url); out != "200" {
				t.Errorf("%s: curl %s: %q, %d", name, url, out, st.ExitStatus())
			}
		}
		// Refused is refused, at once.
		if out, st := l.run(flags, "curl", "-sS", "-m", "5", "http://"+farAddress+":81/"); st.ExitStatus() != 7 {
			t.Errorf("%s: curl ended with %d, not 7: %s", name, st.ExitStatus(), out)
		}
		// A child's children are inside as well.
		if out, _ := l.run(flags, "sh", "-c", "sh -c 'ip -o -4 addr show scope global | wc -l; ip -o link | grep -c v0' & wait"); strings.Join(strings.Fields(out), " ") != "1 0" {
			t.Errorf("%s: a child's interfaces: %q", name, out)
		}
		for _, args := range [][]string{{"-u", "-b", "50M", "-l", "1200"}, {"-u", "-b", "50M", "-R"}, {}, {"-R"}} {
			if out, st := l.run(flags, append([]string{"iperf3", "-c", farAddress, "-t", "1"}, args...)...); st.ExitStatus() != 0 {
				t.Errorf("%s: iperf3 %q: %s", name, args, out)
			}
		}
	}
	// Root needs no user namespace; the client is another user's, so root starts one.
	for line, want := range map[string]string{
		"id -u": "0", "dig +short +time=3 +tries=1 web.test": farAddress, "sh -c 'exit 7'": "",
		"curl -sgS -m 5 -o /dev/null -w %{http_code} http://[" + farAddress6 + "]:8000/": "200",
	} {
		args := []string{"-c", fmt.Sprintf("exec ip netns exec %s %s run -c %s -- %s", l.near, mpsocks, l.file, line)}
		cmd := exec.Command("sh", args...)
		var said bytes.Buffer
		cmd.Stdout = &said
		cmd.Run()
		if got, code := strings.TrimSpace(said.String()), cmd.ProcessState.ExitCode(); got != want || (code == 7) != (want == "") || want != "" && code != 0 {
			t.Errorf("as root: %s: %q, %d", line, got, code)
		}
	}
	l.outlives(t, socket, client)
	end()
}
