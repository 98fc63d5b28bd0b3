package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/integration/bench/halves"
	"github.com/mpsocks/mpsocks/integration/bench/socks"
)

// What goes wrong with a machine, and does not end what is up.

// answersAdmin says whether a half answers at its admin address, for as long as a machine may
// take that is busy.
func answersAdmin(at string) bool {
	c := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for range 4 {
		if r, err := c.Get("http://" + at + "/healthz"); err == nil {
			r.Body.Close()
			return r.StatusCode == http.StatusOK
		}
	}
	return false
}

// echoed says whether a datagram of the flow comes back.
func echoed(t *testing.T, f *flow, to string) bool {
	t.Helper()
	f.send(t, to, []byte("here"))
	_, _, ok := f.receive(t, 200*time.Millisecond)
	return ok
}

// TestClientKilled kills the client and starts it again, more often than a client may have
// sessions: the server takes those of the dead ones for what they are.
func TestClientKilled(t *testing.T) {
	p := begin(t, halves.Config{Server: "limits: {sessions_per_client: 2}\n"})
	echo := udpEcho(t, "127.0.0.1:0")
	for i := range 4 {
		p.Client.Kill()
		var err error
		if p.Client, err = halves.Run(p.Bin, "client", "-c", p.ClientFile); err != nil {
			t.Fatal(err)
		}
		if err := p.Ready(20 * time.Second); err != nil {
			t.Fatalf("killed %d times: %v", i+1, err)
		}
	}
	f := associate(t, p.Socks[0])
	defer f.close()
	eventually(t, 20*time.Second, "an association works", func() bool { return echoed(t, f, echo.String()) })
}

// limited starts the pair's server anew in a shell that has set a limit first.
func limited(t *testing.T, p *halves.Pair, limit string) {
	t.Helper()
	p.Server.Kill()
	var err error
	if p.Server, err = halves.Run("/bin/sh", "-c", limit+fmt.Sprintf("; exec %q server -c %q", p.Bin, p.ServerFile)); err != nil {
		t.Fatal(err)
	}
	if err := p.Ready(20 * time.Second); err != nil {
		t.Fatal(err)
	}
}

// TestNoDescriptors has a client ask for more mappings than the server may open files:
// what is up goes on, admin answers meanwhile, and everything is back without a restart.
func TestNoDescriptors(t *testing.T) {
	p := begin(t, halves.Config{Admin: true})
	limited(t, p, "ulimit -n 80")
	echo := udpEcho(t, "127.0.0.1:0")
	first := associate(t, p.Socks[0])
	defer first.close()
	eventually(t, 20*time.Second, "the first association works", func() bool { return echoed(t, first, echo.String()) })
	works := 0
	var more, waiting []*flow
	for range 100 {
		f := associate(t, p.Socks[0])
		more = append(more, f)
		f.send(t, echo.String(), []byte("here"))
	}
	for _, f := range more {
		if _, _, ok := f.receive(t, 10*time.Millisecond); ok {
			works++
			continue
		}
		waiting = append(waiting, f)
	}
	datagram, err := socks.AppendDatagram(nil, echo.String(), []byte("more"))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "programs without a mapping hear so, or are answered late", func() bool {
		waiting = slices.DeleteFunc(waiting, func(f *flow) bool {
			_, _ = f.conn.Write(datagram) // fails when the association has ended
			_ = f.control.SetReadDeadline(time.Now().Add(time.Millisecond))
			_, err := f.control.Read(make([]byte, 1))
			_, _, late := f.receive(t, time.Millisecond)
			return err == io.EOF || late
		})
		return len(waiting) == 0
	})
	if works == 0 || works == len(more) {
		t.Errorf("%d of %d more have a mapping, with 80 files", works, len(more))
	}
	if open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.Server.PID())); err != nil || len(open) > 70 {
		t.Errorf("%d of 80 files are open: none is kept for admin and for other clients; %v", len(open), err)
	}
	if !answersAdmin(p.ServerAdmin) {
		t.Error("the server's admin does not answer")
	}
	eventually(t, 20*time.Second, "the first association goes on", func() bool { return echoed(t, first, echo.String()) })
	for _, f := range more {
		f.close()
	}
	last := associate(t, p.Socks[0])
	defer last.close()
	eventually(t, 20*time.Second, "a new association works again", func() bool { return echoed(t, last, echo.String()) })
}

// TestConnectsLeaveRoomForDatagrams has CONNECTs take all that they get of the server's
// files: a new association of the same client works, and so do CONNECTs when some end.
func TestConnectsLeaveRoomForDatagrams(t *testing.T) {
	p := begin(t, halves.Config{})
	limited(t, p, "ulimit -n 128")
	echo := udpEcho(t, "127.0.0.1:0")
	hold := tcpServer(t, "127.0.0.1:0", func(c *net.TCPConn) { _, _ = io.Copy(io.Discard, c) })
	d := socks.Dialer{Proxy: p.Socks[0].String()}
	var held []net.Conn
	defer func() {
		for _, c := range held {
			c.Close()
		}
	}()
	for range 128 {
		c, err := d.Connect(hold.String())
		if err != nil {
			break
		}
		held = append(held, c)
	}
	if n := len(held); n < 20 || n == 128 {
		t.Fatalf("%d CONNECTs of a server with 128 files", n)
	}
	for range 5 {
		f := associate(t, p.Socks[0])
		eventually(t, 20*time.Second, "a new association works", func() bool { return echoed(t, f, echo.String()) })
	}
	for _, c := range held[:6] {
		c.Close()
	}
	eventually(t, 20*time.Second, "there is room for a CONNECT again", func() bool {
		c, err := d.Connect(hold.String())
		if err == nil {
			held = append(held, c)
		}
		return err == nil
	})
}

// TestFullDisk has the state of both halves on a disk that is full: they start, work, say
// what is wrong, and answer.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("no small disk can be made: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	full := filepath.Join(dir, "full")
	if err := os.WriteFile(full, make([]byte, 128<<10), 0o600); err == nil {
		t.Skip("the small disk takes more than it has")
	}
	p := begin(t, halves.Config{Admin: true})
	for _, name := range []string{p.ClientFile, p.ServerFile} {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for line := range strings.Lines(string(b)) {
			if strings.HasPrefix(line, "state_dir:") {
				line = fmt.Sprintf("state_dir: %q\n", dir)
			}
			lines = append(lines, line)
		}
		if err := os.WriteFile(name, []byte(strings.Join(lines, "")), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p.Kill()
	if err := p.StartServer(); err != nil {
		t.Fatal(err)
	}
	var err error
	if p.Client, err = halves.Run(p.Bin, "client", "-c", p.ClientFile); err != nil {
		t.Fatal(err)
	}
	if err := p.Ready(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	if !answersAdmin(p.ClientAdmin) || !answersAdmin(p.ServerAdmin) {
		t.Error("a half does not answer")
	}
	for name, half := range map[string]*halves.Process{"client": p.Client, "server": p.Server} {
		eventually(t, 20*time.Second, name+" says that the disk is full", func() bool {
			return strings.Contains(half.Output(), "no space left on device")
		})
	}
	// With room again what is to be kept is kept, at the latest at the end.
	if err := os.Remove(full); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Server.Stop(); err != nil {
		t.Fatal(err)
	}
	kept := int64(0)
	left, _ := os.ReadDir(dir)
	for _, e := range left {
		if i, err := e.Info(); err == nil {
			kept += i.Size()
		}
	}
	if kept == 0 {
		t.Error("nothing was kept at the end, with room on the disk")
	}
}

// TestFullDiskMeanwhile has the disk with the capture and the log of a client become full while
// it works: what is up loses nothing, the client says that the capture has ended where that can
// be read, and goes on.
func TestFullDiskMeanwhile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=128k"); err != nil {
		t.Skipf("no small disk can be made: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	p := begin(t, halves.Config{Admin: true})
	p.Client.Kill()
	log := filepath.Join(dir, "log")
	var err error
	p.Client, err = halves.Run("/bin/sh", "-c", fmt.Sprintf("exec %q client -c %q --capture %q 2>%q", p.Bin, p.ClientFile, filepath.Join(dir, "capture"), log))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Ready(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	echo := udpEcho(t, "127.0.0.1:0")
	f := associate(t, p.Socks[0])
	defer f.close()
	eventually(t, 20*time.Second, "an association works", func() bool { return echoed(t, f, echo.String()) })
	lost := 0
	for i := range 300 { // of 1,000 bytes, each captured four times: the disk is full soon
		f.send(t, echo.String(), make([]byte, 1000))
		if _, _, ok := f.receive(t, 5*time.Second); !ok {
			lost++
		}
		if i == 150 {
			if err := os.WriteFile(filepath.Join(dir, "rest"), make([]byte, 256<<10), 0o600); err == nil {
				t.Error("there is room left")
			}
		}
	}
	if lost > 0 {
		t.Errorf("%d datagrams are lost", lost)
	}
	if !answersAdmin(p.ClientAdmin) {
		t.Error("the client does not answer")
	}
	f2 := associate(t, p.Socks[0])
	defer f2.close()
	eventually(t, 20*time.Second, "a new association works", func() bool { return echoed(t, f2, echo.String()) })
}
