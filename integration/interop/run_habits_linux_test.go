package interop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// What programs do beside exchanging packets works inside as it does outside.
func TestRunHabits(t *testing.T) {
	t.Parallel()
	l := newLand(t)
	if err := os.Chmod(filepath.Dir(mpsocks), 0o755); err != nil { // shells of nobody's start it
		t.Fatal(err)
	}
	end := l.away()
	l.startClient()
	socket := []string{"--socket", filepath.Join(l.dir, "run", "run.sock")}
	t.Run("sockets", func(t *testing.T) { l.sockets(t, socket) })
	t.Run("what it inherits", func(t *testing.T) { l.inherits(t, socket) })
	t.Run("job control", func(t *testing.T) { l.jobs(t, socket) })
	t.Run("daemons", func(t *testing.T) { l.daemons(t, socket) })
	t.Run("in itself", func(t *testing.T) {
		inner := append(append([]string{mpsocks, "run"}, socket...), "--", "dig", "+short", "+time=3", "+tries=2", "web.test")
		if out, st := l.run(socket, inner...); strings.TrimSpace(out) != farAddress {
			t.Errorf("%d: %s", st.ExitStatus(), out)
		}
	})
	t.Run("with a sandbox", func(t *testing.T) { l.sandboxed(t, socket) })
	t.Run("resolvers of the host", func(t *testing.T) { l.resolvers(t, socket) })
	t.Run("the host's network is another", func(t *testing.T) { l.roams(t, []string{"-c", l.file}) })
	end()
}

// sockets: options and kinds of sockets, of a user without a privilege and of root.
func (l *land) sockets(t *testing.T, flags []string) {
	habits, echo := l.place("habits.py"), l.place("tellecho.py")
	for _, address := range []string{farAddress, farAddress6} {
		l.start(l.far, python, echo, address, "7777")
		l.bound(address, "7777")
	}
	text, err := os.ReadFile(habits)
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Count(string(text), "@habit\n")
	args := []string{python, habits, farAddress, farAddress6, "v0"}
	out, st := l.run(flags, args...)
	if st.ExitStatus() != 0 || strings.Count(out, "ok ") != all || strings.Contains(out, "wrong ") {
		t.Errorf("%d: %s", st.ExitStatus(), out)
	}
	out, st = l.asRoot(args...)
	if st.ExitStatus() != 0 || strings.Count(out, "ok ") != all || strings.Contains(out, "wrong ") {
		t.Errorf("as root: %d: %s", st.ExitStatus(), out)
	}
}

// sandboxed: inside a sandbox of namespaces as flatpak makes it, and with one inside, which
// keep the tunnel's network; one with a network of its own has none.
func (l *land) sandboxed(t *testing.T, flags []string) {
	bwrap := need(t, "bwrap")
	run := append(append([]string{mpsocks, "run"}, flags...), "--")
	dig := []string{"dig", "+short", "+time=3", "+tries=2", "web.test"}
	for _, c := range []struct {
		name string
		line []string
		want string
	}{
		{"inside", slices.Concat(run, []string{bwrap, "--ro-bind", "/", "/", "--unshare-user", "--unshare-ipc", "--unshare-uts"}, dig), farAddress},
		{"around", slices.Concat([]string{bwrap, "--bind", "/", "/", "--dev-bind", "/dev", "/dev"}, run, dig), farAddress},
		{"without a network", slices.Concat(run, []string{bwrap, "--ro-bind", "/", "/", "--unshare-net"}, dig), "no servers could be reached"},
	} {
		args := l.asNobody(c.line...)
		out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
		if !strings.Contains(string(out), c.want) || err != nil && c.want == farAddress {
			t.Errorf("%s: %v %s", c.name, err, out)
		}
	}
}

// inherits: open files whatever their numbers, arguments however many, limits, and what it
// writes is its user's.
func (l *land) inherits(t *testing.T, flags []string) {
	dir := filepath.Join(l.dir, "run")
	l.sh("echo three > %[1]s/three; echo four > %[1]s/four; seq 30000 > %[1]s/numbers", dir)
	run := strings.Join(append([]string{mpsocks, "run"}, flags...), " ") + " -- "
	for _, c := range []struct{ name, line, want string }{
		{"open files", "exec 3<three 4<four 9<three; " + run + "sh -c 'cat <&3; cat <&4; cat <&9'", "three\nfour\nthree\n"},
		{"a shell's own", `bash -c '` + run + `cat <(echo from a pipe)'`, "from a pipe\n"},
		{"many arguments", run + "sh -c 'echo $#' sh $(cat numbers)", "30000\n"},
		{"arguments like ours", run + "echo --help -c x -- --version", "--help -c x -- --version\n"},
		{"few open files", "ulimit -n 24; " + run + "sh -c 'ulimit -n; dig +short +time=3 +tries=2 web.test'", "24\n" + farAddress + "\n"},
		{"its own limit of them", "ulimit -Sn 777; " + run + "sh -c 'ulimit -Sn'", "777\n"},
		{"no directory for temporary files", "TMPDIR=/nowhere " + run + "echo runs", "runs\n"},
		{"the environment", "A='b c' " + run + "sh -c 'echo $A'", "b c\n"},
		{"ignored signals", "trap '' HUP; " + run + "sh -c 'kill -HUP $$; echo lives'", "lives\n"},
		{"ignored interrupts", "trap '' INT; " + run + "sh -c 'kill -INT $$; echo lives'", "lives\n"},
		{"no PATH", "env -i " + run + "echo found", "found\n"},
		{"a PATH of here", "printf '#!/bin/sh\\necho here\\n' > local; chmod 755 local; PATH=.:$PATH " + run + "local", "here\n"},
		{"a script that does not say whose", "printf 'echo $0 $1\\n' > plain; chmod 755 plain; " + run + dir + "/plain word", dir + "/plain word\n"},
		{"a directory", run + "/tmp 2>/dev/null; echo $?", "126\n"},
		{"files", run + "touch mine; stat -c %u:%g mine", "65534:65534\n"},
		{"a program that would mount itself", `cp "$(command -v env)" image; printf 'AI\002' | dd of=image bs=1 seek=8 conv=notrunc 2>/dev/null; ` + run + "./image | grep APPIMAGE", "APPIMAGE_EXTRACT_AND_RUN=1\n"},
		{"nothing to read", run + "cat <&-", ""}, // the language has opened /dev/null
		{"the directory", "cd /usr; " + run + "pwd", "/usr\n"},
		{"the umask", "umask 027; " + run + "sh -c umask", "0027\n"},
	} {
		args := l.asNobody("sh", "-c", "cd "+dir+"; "+c.line)
		out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
		if string(out) != c.want || err != nil {
			t.Errorf("%s: %v %.300q, want %q", c.name, err, out, c.want)
		}
	}
	// Sockets with a name in the file system are reached, abstract ones are the host's own.
	const listen = `import socket,sys
for name in sys.argv[1:]:
    s = socket.socket(socket.AF_UNIX); s.bind(name.replace("@", "\0")); s.listen(); globals()["s" + name] = s
print("listens", flush=True)
while True: [s for s in globals()["s" + sys.argv[1]].accept()][0].sendall(b"hello")`
	named, abstract := filepath.Join(dir, "agent.sock"), fmt.Sprintf("@mpsocks-test-%d", os.Getpid())
	agent := l.start(l.near, python, "-c", listen, named, abstract)
	for range 200 {
		if strings.Contains(agent.Output(), "listens") {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	l.sh("chmod 777 %s", named)
	const ask = `import socket,sys
for name in sys.argv[1:]:
    s = socket.socket(socket.AF_UNIX)
    try: s.connect(name.replace("@", "\0")); print(s.recv(10).decode())
    except OSError as e: print(e.strerror)`
	if out, _ := l.run(flags, python, "-c", ask, named, abstract); out != "hello\nConnection refused\n" {
		t.Errorf("sockets of the host: %q", out)
	}
}

// jobs: at a shell it is a job like any other.
func (l *land) jobs(t *testing.T, flags []string) {
	need(t, "bash")
	script := l.place("jobs.py")
	args := l.asNobody(append(append([]string{python, script, mpsocks, "run"}, flags...), "--")...)
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil || string(out) != "ok\n" {
		t.Errorf("%v: %s", err, out)
	}
}

// daemons: what a program leaves behind keeps its network, and mpsocks run ends with the
// program all the same; nothing is left after the last of them.
func (l *land) daemons(t *testing.T, flags []string) {
	for name, flags := range map[string][]string{"the running client": flags, "a client of its own": {"-c", l.file}} {
		result := filepath.Join(l.dir, "run", "result")
		l.sh("rm -f %s*", result)
		// It leaves its session and its parent, closes what it has, and asks when it is told to,
		// after mpsocks run has ended.
		daemon := fmt.Sprintf(`setsid sh -c 'for i in $(seq 600); do [ -e %[1]s.now ] && break; sleep .1; done; for i in 1 2 3 4 5 6 7 8 9; do curl -s -m 3 -o /dev/null -w %%{http_code} http://web.test:8000/ > %[1]s.new && break; done; mv %[1]s.new %[1]s; sleep 1' </dev/null >/dev/null 2>&1 &`, result)
		out, st := l.run(flags, "sh", "-c", daemon+" echo started; exit 3") // it waits for 30 s at most
		if out != "started\n" || st.ExitStatus() != 3 {
			t.Errorf("%s: %d: %s", name, st.ExitStatus(), out)
		}
		l.sh("touch %s.now", result)
		got := ""
		for range 600 {
			if b, err := os.ReadFile(result); err == nil {
				got = string(b)
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		if got != "200" {
			t.Errorf("%s: what was left behind got %q", name, got)
		}
		left := ""
		for range 1200 {
			b, _ := exec.Command("ip", "netns", "pids", l.near).Output()
			left = ""
			for _, pid := range strings.Fields(string(b)) {
				line, _ := os.ReadFile("/proc/" + pid + "/cmdline") // it may have ended
				if strings.Contains(string(line), "run-hold") {
					left += string(line)
				}
			}
			if left == "" {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		if left != "" {
			t.Errorf("%s: still there: %s", name, left)
		}
	}
}

// resolvers: with systemd-resolved, nscd and avahi on the host, whose sockets are files, and
// a resolv.conf that is a link to what the first of them writes, no name is asked there.
func (l *land) resolvers(t *testing.T, flags []string) {
	const setUp = `set -e
mkdir $DIR/etc $DIR/work
mount -t overlay overlay -o lowerdir=/etc,upperdir=$DIR/etc,workdir=$DIR/work /etc
mount -t tmpfs none /run
mkdir -p /run/systemd/resolve /run/nscd /run/avahi-daemon
echo 'nameserver 127.0.0.53' > /run/systemd/resolve/stub-resolv.conf
rm -f /etc/resolv.conf
ln -s ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf
echo 'hosts: mymachines resolve [!UNAVAIL=return] files myhostname dns' > /etc/nsswitch.conf
touch /run/nscd/socket # others in this script ask a real one
for s in /run/systemd/resolve/io.systemd.Resolve /run/avahi-daemon/socket; do
	python3 -c 'import socket,sys,time; s=socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(); c=s.accept(); open(sys.argv[2],"a").write(sys.argv[1]); time.sleep(9)' $s $DIR/asked &
done
while ! [ -S /run/avahi-daemon/socket -a -S /run/systemd/resolve/io.systemd.Resolve ]; do sleep .05; done
chmod -R a+rwX /run
mount -t tmpfs none /dev/net
mknod /dev/net/tun c 10 200
chmod 666 /dev/net/tun
setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all --bounding-set=-all "$@" || echo failed $?
kill $(jobs -p)
`
	dir := filepath.Join(l.dir, "overlay")
	l.sh("mkdir -p %[1]s && mount -t tmpfs none %[1]s && chmod 755 %[1]s", dir)
	defer l.sh("umount %s", dir)
	line := append(append([]string{mpsocks, "run"}, flags...), "--", "sh", "-c",
		"cat /etc/resolv.conf; getent hosts web.test; ls /run/nscd /run/systemd/resolve /run/avahi-daemon")
	args := append([]string{"netns", "exec", l.near, "unshare", "-m", "env", "DIR=" + dir, "bash", "-c", setUp, "sh"}, line...)
	cmd := exec.Command("ip", args...)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if strings.Contains(string(out), "overlay") && strings.Contains(string(out), "mount") {
		t.Skipf("no overlay can be mounted here: %s", out)
	}
	for _, want := range []string{"nameserver 198.18.0.1\n", farAddress + " "} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q: %v %s", want, err, out)
		}
	}
	if strings.Contains(string(out), "socket\n") || strings.Contains(string(out), "io.systemd.Resolve") || strings.Contains(string(out), "127.0.0.53") {
		t.Errorf("what is the host's is there: %s", out)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "asked")); err == nil {
		t.Errorf("asked: %s", b)
	}
}
