package e2e

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/integration/bench/halves"
)

// A machine with little memory: control groups of 64 MiB around either half.

const littleMemory = 64 << 20

// memoryGroup makes a control group of so many bytes.
func memoryGroup(t *testing.T, name string, bytes int64) (dir string) {
	t.Helper()
	for root, limit := range map[string]string{"/sys/fs/cgroup/memory": "memory.limit_in_bytes", "/sys/fs/cgroup": "memory.max"} {
		if _, err := os.Stat(filepath.Join(root, "cgroup.procs")); err != nil {
			continue
		}
		dir := filepath.Join(root, fmt.Sprintf("mpsocks-test-%d-%s", os.Getpid(), name))
		if os.Mkdir(dir, 0o755) != nil {
			continue
		}
		t.Cleanup(func() { // it can go when the process has
			for end := time.Now().Add(5 * time.Second); os.Remove(dir) != nil && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			}
		})
		if os.WriteFile(filepath.Join(dir, limit), []byte(strconv.FormatInt(bytes, 10)), 0o600) == nil {
			return dir
		}
	}
	t.Skip("no control group for memory can be made")
	return ""
}

// used is the most that a group has held so far, 0 where nobody says.
func used(dir string) (n int64) {
	for _, name := range []string{"memory.max_usage_in_bytes", "memory.peak"} {
		if b, err := os.ReadFile(filepath.Join(dir, name)); err == nil {
			n, _ = strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
		}
	}
	return n
}

// TestLittleMemory runs both halves in 64 MiB each, with nothing said of it in their
// files, and a load that fits: twenty associations and ten CONNECTs that take all that
// they get. Nothing is lost, and neither half dies.
func TestLittleMemory(t *testing.T) {
	p := begin(t, halves.Config{Admin: true})
	p.Kill()
	groups := make(map[string]string)
	run := func(half, file string) *halves.Process {
		dir := memoryGroup(t, half, littleMemory)
		groups[half] = dir
		r, err := halves.Run("/bin/sh", "-c", fmt.Sprintf("echo $$ > %s/cgroup.procs && exec %q %s -c %q", dir, p.Bin, half, file))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(r.Kill) // before the group goes
		return r
	}
	p.Server, p.Client = run("server", p.ServerFile), run("client", p.ClientFile)
	if err := p.Ready(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	const size = 16 << 20
	sink := tcpServer(t, "127.0.0.1:0", func(c *net.TCPConn) {
		_ = c.SetDeadline(time.Now().Add(2 * time.Minute))
		var took sync.WaitGroup
		took.Go(func() { _, _ = io.CopyN(io.Discard, c, size) })
		_, _ = c.Write(make([]byte, size))
		took.Wait()
	})
	var wg sync.WaitGroup
	for range 10 {
		c := connect(t, p.Socks[0], sink.String())
		_ = c.SetDeadline(time.Now().Add(2 * time.Minute))
		wg.Go(func() { _, _ = c.Write(make([]byte, size)) })
		wg.Go(func() {
			if n, err := io.ReadFull(c, make([]byte, size)); err != nil {
				t.Errorf("a CONNECT got %d bytes: %v", n, err)
			}
		})
	}
	echo := udpEcho(t, "127.0.0.1:0")
	var flows []*flow
	for range 20 {
		f := associate(t, p.Socks[0])
		defer f.close()
		flows = append(flows, f)
		eventually(t, 20*time.Second, "it works", func() bool { return echoed(t, f, echo.String()) })
	}
	lost := 0
	body := make([]byte, 1200)
	for range 100 {
		for _, f := range flows {
			f.send(t, echo.String(), body)
		}
		for _, f := range flows {
			if _, _, ok := f.receive(t, patience); !ok {
				lost++
			}
		}
	}
	wg.Wait()
	if lost > 0 {
		t.Errorf("%d of 2,000 datagrams were lost", lost)
	}
	for half, r := range map[string]*halves.Process{"client": p.Client, "server": p.Server} {
		select {
		case <-r.Done():
			t.Errorf("the %s has ended: %s", half, r.Output())
		default:
		}
		t.Logf("the %s's group held %d MiB at most", half, used(groups[half])>>20)
	}
	if !answersAdmin(p.ClientAdmin) || !answersAdmin(p.ServerAdmin) {
		t.Error("a half does not answer")
	}
}
