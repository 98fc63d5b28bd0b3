package walk

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// walker is the bare system: a root file system, entered by chroot, in network and
// process namespaces of its own.
type walker struct {
	t      *testing.T
	root   string
	readme string
	start  time.Time
	netns  string
}

// run runs a command of README.md there; written is how it stands in the README, if the
// command differs by an address or by sudo.
func (w *walker) run(command, written string) string {
	w.t.Helper()
	if written == "" {
		written = command
	}
	if !strings.Contains(w.readme, written) {
		w.t.Errorf("README.md does not have %q", written)
	}
	return w.sh(command)
}

func (w *walker) sh(command string) string {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 2*time.Minute)
	defer cancel()
	out, err := w.command(ctx, command).CombinedOutput()
	w.t.Logf("%6.1f s  $ %s\n%s", time.Since(w.start).Seconds(), command, out)
	if err != nil {
		w.t.Fatalf("%s: %v", command, err)
	}
	return string(out)
}

func (w *walker) command(ctx context.Context, command string) *exec.Cmd {
	// ip gives it mounts of its own, so that /proc is there for this command only.
	cmd := exec.CommandContext(ctx, "ip", "netns", "exec", w.netns, "sh", "-c", `mount -t proc proc "$0/proc" && exec chroot "$0" "$@"`, w.root, "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8",
		"DEBIAN_FRONTEND=noninteractive", "sh", "-c", "cd && "+command)
	cmd.WaitDelay = time.Second
	return cmd
}

// probe waits until a proxy there leads out, and returns what `mpsocks probe` says.
func (w *walker) probe(proxy string) string {
	w.t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		out, err := w.command(w.t.Context(), "mpsocks probe --proxy "+proxy+" --tcp 198.51.100.9:7443 2>&1").CombinedOutput()
		if err == nil {
			return string(out)
		}
		if time.Now().After(end) {
			w.t.Fatalf("nothing comes through %s: %s", proxy, out)
		}
	}
}

// service runs a unit's ExecStart as its user, in the place of systemd, which does not run
// in a chroot, until stop is called.
func (w *walker) service(name string) (stop func()) {
	w.t.Helper()
	unit, err := os.ReadFile(filepath.Join(w.root, "usr/lib/systemd/system", name+".service"))
	if err != nil {
		w.t.Fatal(err)
	}
	line := ""
	for l := range strings.Lines(string(unit)) {
		if rest, ok := strings.CutPrefix(l, "ExecStart="); ok {
			line = strings.TrimSpace(rest)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := w.command(ctx, "mkdir -p -m 0700 /var/lib/mpsocks && chown mpsocks: /var/lib/mpsocks && export STATE_DIRECTORY=/var/lib/mpsocks && exec setpriv --reuid mpsocks --regid mpsocks --init-groups --no-new-privs "+line)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	said := &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		cancel()
		_ = cmd.Wait()
	})
	w.t.Cleanup(func() {
		stop()
		if w.t.Failed() {
			w.t.Logf("%s said:\n%s", name, said)
		}
	})
	w.t.Logf("%6.1f s  %s: %s", time.Since(w.start).Seconds(), name, line)
	return stop
}

// TestNewcomer needs root, debootstrap and two packages, of which the second is an upgrade of
// the first: WALK_DEB and WALK_NEXT, as make walk has them. WALK_ROOT is a root file system
// that is there already.
func TestNewcomer(t *testing.T) {
	deb, next := os.Getenv("WALK_DEB"), os.Getenv("WALK_NEXT")
	if deb == "" || next == "" {
		t.Skip("WALK_DEB and WALK_NEXT name no packages: make walk builds them and runs this")
	}
	if os.Geteuid() != 0 {
		t.Skip("a chroot takes root")
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	w := &walker{t: t, root: os.Getenv("WALK_ROOT"), readme: string(readme), netns: fmt.Sprint("walk-", os.Getpid())}
	if w.root == "" {
		if _, err := exec.LookPath("debootstrap"); err != nil {
			t.Skip("debootstrap is not installed: make walk installs it from Debian where it may")
		}
		w.root = t.TempDir()
		out, err := exec.Command("debootstrap", "--variant=minbase", "--include=systemd,iproute2,curl,ca-certificates", "stable", w.root).CombinedOutput()
		if err != nil {
			t.Skipf("debootstrap: %v\n%s", err, out)
		}
	}
	for to, from := range map[string]string{"mpsocks_0_amd64.deb": deb, "next.deb": next} {
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(w.root, "root", to), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"netns", "add", w.netns}, {"-n", w.netns, "link", "set", "lo", "up"}} {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Skipf("ip %v: %s", args, out)
		}
	}
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", w.netns).Run() })
	w.start = time.Now()

	// 1 and 2. The package, and the files.
	w.run("apt-get install -y -q ./mpsocks_*_amd64.deb", "apt install ./mpsocks_*_amd64.deb")
	w.sh("systemd-analyze verify --man=no /usr/lib/systemd/system/mpsocks-client.service /usr/lib/systemd/system/mpsocks-server.service /usr/lib/systemd/system/mpsocks-client.socket /usr/lib/systemd/system/mpsocks-server.socket")
	w.sh("XDG_RUNTIME_DIR=/tmp systemd-analyze verify --man=no --user /usr/lib/systemd/user/mpsocks-client.service")
	w.run("mpsocks init --server 192.0.2.1:7443", "mpsocks init --server 203.0.113.5:7443")
	for _, args := range [][]string{{"addr", "add", "192.0.2.1/24", "dev", "lo"}, {"addr", "add", "198.51.100.9/24", "dev", "lo"}} {
		if out, err := exec.Command("ip", append([]string{"-n", w.netns}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %s", args, out)
		}
	}

	// The internet of this walk is an address of the server's own.
	w.sh("sed -i 's/^  allow: .*/  allow: [198.51.100.9]/' server.yaml")

	// 3. The server. systemd cannot run here: what it would do is done below.
	said := w.run("mpsocks service install server -c server.yaml", "mpsocks service install server -c server.yaml")
	if !strings.Contains(said, "enabled") {
		t.Errorf("the service is not enabled: %s", said)
	}
	stopServer := w.service("mpsocks-server")
	w.run("mpsocks service install client -c client.yaml", "")
	stopClient := w.service("mpsocks-client")
	probe := w.probe("127.0.0.1:1080")
	if !strings.Contains(w.readme, "mpsocks probe --proxy 127.0.0.1:1080") {
		t.Error("README.md does not probe")
	}
	w.t.Logf("%6.1f s  it works:\n%s", time.Since(w.start).Seconds(), probe)
	w.run("mpsocks status", "")
	w.run("mpsocks check -c /etc/mpsocks/client.yaml", "")
	if links := w.run("mpsocks status --web", ""); strings.Count(links, "/?token=") != 2 {
		t.Errorf("the links are %q", links)
	}
	w.run("mpsocks status client --json", "mpsocks status --json")
	w.run("mpsocks doctor --stun none -c /etc/mpsocks/client.yaml || test $? = 1", "mpsocks doctor") // nothing sets a clock here

	// A second device: another directory, as the user's own program.
	link := w.run("mpsocks clients add phone --link", "")
	link, _, _ = strings.Cut(link, "\n")
	if !strings.HasPrefix(link, "mpsocks://") {
		t.Fatalf("the link is %q", link)
	}
	w.run("mkdir -p device && cd device && echo '"+link+"' | mpsocks init --link -", "mpsocks init --link -")
	ctx, cancel := context.WithCancel(context.Background())
	device := w.command(ctx, "exec env MPSOCKS_LISTEN=127.0.0.1:1090 MPSOCKS_ADMIN= mpsocks client -c device/client.yaml")
	device.Cancel = func() error { return device.Process.Signal(syscall.SIGTERM) }
	if err := device.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cancel(); _ = device.Wait() }()
	w.probe("127.0.0.1:1090")
	t.Logf("%6.1f s  the second device works", time.Since(w.start).Seconds())
	w.run("mpsocks clients list", "")

	// The next package. What it leaves alone is all that is somebody's; the halves that run
	// go on, and start anew as they are in the place of systemd.
	const keep = "cd / && sha256sum etc/mpsocks/*.yaml etc/mpsocks/clients.d/* var/lib/mpsocks/admin.token; systemctl is-enabled mpsocks-server.service mpsocks-client.service mpsocks-server.socket"
	w.sh("systemctl enable mpsocks-server.socket")
	before, version := w.sh(keep), w.sh("dpkg-query -W -f '${Version}' mpsocks")
	w.sh("apt-get install -y -q ./next.deb && dpkg --compare-versions \"$(dpkg-query -W -f '${Version}' mpsocks)\" gt " + version)
	if after := w.sh(keep); after != before || strings.Count(after, "enabled\n") != 3 {
		t.Errorf("an upgrade has changed\n%s to\n%s", before, after)
	}
	w.probe("127.0.0.1:1080")
	stopServer()
	w.service("mpsocks-server")
	w.probe("127.0.0.1:1090")
	stopClient()
	w.service("mpsocks-client")
	w.probe("127.0.0.1:1080")
	w.run("mpsocks status", "")

	w.run("mpsocks clients revoke phone", "")
	w.sh("apt-get remove -y -q mpsocks && test -e /etc/mpsocks/server.yaml && ! find /etc/systemd/system -name 'mpsocks*' | grep .")
	w.sh("apt-get install -y -q ./mpsocks_*_amd64.deb && apt-get purge -y -q mpsocks && ! test -e /etc/mpsocks")
}
