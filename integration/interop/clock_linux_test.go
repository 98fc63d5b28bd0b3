package interop

import (
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/integration/bench/halves"
	"github.com/mpsocks/mpsocks/integration/bench/socks"
)

// turnable is held while it is built.
var turnable sync.Mutex

// buildTurnable builds the program with a wall clock that signals set a day ahead (USR1)
// and back (USR2), for that of the machine is others' too: package time gets a variable
// more, and main a goroutine, by an overlay of the build.
func buildTurnable(t *testing.T) string {
	t.Helper()
	turnable.Lock()
	defer turnable.Unlock()
	bin := filepath.Join(filepath.Dir(mpsocks), "mpsocks-turnable")
	if _, err := os.Stat(bin); err == nil {
		return bin // another test has: all is built anew on another package time
	}
	ask := func(args ...string) string {
		out, err := exec.CommandContext(t.Context(), "go", args...).Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out))
	}
	source, module := filepath.Join(ask("env", "GOROOT"), "src", "time", "time.go"), ask("list", "-m", "-f", "{{.Dir}}")
	text, err := os.ReadFile(source)
	if err != nil {
		t.Skipf("the sources of package time are not here: %v", err)
	}
	const now = "\tsec, nsec, mono := runtimeNow()\n"
	if !strings.Contains(string(text), now) {
		t.Skip("package time is not what it was: its Now begins otherwise")
	}
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	overlay, _ := json.Marshal(map[string]any{"Replace": map[string]string{
		source: write("time.go", strings.Replace(string(text), now, now+"\tsec += Ahead.Load()\n", 1)),
		filepath.Join(filepath.Dir(source), "zahead.go"): write("zahead.go", "package time\n\nimport \"sync/atomic\"\n\nvar Ahead atomic.Int64\n"),
		filepath.Join(module, "zahead.go"): write("main.go", `package main

import (
	"os"
	"os/signal"
	"syscall"
	"time"
)

func init() {
	turns := make(chan os.Signal, 8)
	signal.Notify(turns, syscall.SIGUSR1, syscall.SIGUSR2)
	go func() {
		for s := range turns {
			if s == syscall.SIGUSR1 {
				time.Ahead.Add(24 * 3600)
			} else {
				time.Ahead.Add(-24 * 3600)
			}
			println("the clock says", time.Now().Format(time.RFC3339))
		}
	}()
}
`),
	}})
	build := exec.CommandContext(t.Context(), "go", "build", "-overlay", write("overlay.json", string(overlay)), "-o", bin, ".")
	build.Dir = module
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return bin
}

// turn sets the clock of a half of that program, and returns what it shows then.
func turn(t *testing.T, half *halves.Process, by syscall.Signal) (shows string) {
	t.Helper()
	line := regexp.MustCompile("the clock says (.*)\n") // println writes it word by word
	before := len(line.FindAllString(half.Output(), -1))
	if err := syscall.Kill(half.PID(), by); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if said := line.FindAllStringSubmatch(half.Output(), -1); len(said) > before {
			return said[before][1]
		}
		if time.Now().After(end) {
			t.Fatal("the clock was not turned")
		}
	}
}

// TestClockSteps sets the clocks of the halves a day ahead and back, one after the other
// and both, under datagrams and a CONNECT: nothing is lost, nothing ends, and new
// associations, CONNECTs, subflows and clients work at once.
func TestClockSteps(t *testing.T) {
	t.Parallel()
	bin := buildTurnable(t)
	p, err := halves.Start(bin, halves.Config{
		Dir: t.TempDir(), Paths: halves.TwoPaths(), Allow: loopback, Admin: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	echo := udpEcho(t, "udp", "127.0.0.1:0")
	tcp := tcpMirror(t, "127.0.0.1:0")
	d := socks.Dialer{Proxy: p.Proxy()}
	stream, err := d.Connect(tcp)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	control, relay, err := d.Associate()
	if err != nil {
		t.Fatal(err)
	}
	defer control.Close()
	udp, err := net.Dial("udp", relay.String())
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	sent := 0
	works := func(when string) {
		t.Helper()
		b := make([]byte, 2048)
		for range 50 {
			sent++
			pkt, err := socks.AppendDatagram(nil, echo, []byte{byte(sent >> 8), byte(sent)})
			if err != nil {
				t.Fatal(err)
			}
			_, _ = udp.Write(pkt)
			udp.SetReadDeadline(time.Now().Add(20 * time.Second))
			n, err := udp.Read(b)
			if err != nil {
				t.Fatalf("%s: datagram %d: %v", when, sent, err)
			}
			if _, payload, err := socks.ParseDatagram(b[:n]); err != nil || len(payload) != 2 || payload[1] != byte(sent) {
				t.Fatalf("%s: datagram %d: %v %v", when, sent, payload, err)
			}
			stream.SetDeadline(time.Now().Add(20 * time.Second))
			if _, err = stream.Write(pkt); err == nil {
				_, err = stream.Read(b)
			}
			if err != nil {
				t.Fatalf("%s: the CONNECT: %v", when, err)
			}
			time.Sleep(5 * time.Millisecond)
		}
		again, err := d.Connect(tcp)
		if err != nil {
			t.Fatalf("%s: a new CONNECT: %v", when, err)
		}
		again.Close()
		if err := p.Ready(20 * time.Second); err != nil {
			t.Fatalf("%s: a new association: %v", when, err)
		}
	}
	// another starts a second client process of the same key, by the machine's own clock.
	another := func(when string) {
		t.Helper()
		at, err := halves.FreePorts(1)
		if err != nil {
			t.Fatal(err)
		}
		second, err := p.Join(at[0])
		if err != nil {
			t.Fatalf("%s: another client: %v", when, err)
		}
		second.Kill()
	}
	works("before")
	both := []*halves.Process{p.Server, p.Client}
	for _, step := range []struct {
		when   string
		halves []*halves.Process
		by     syscall.Signal
	}{
		{"the server a day ahead", both[:1], syscall.SIGUSR1},
		{"the server right again", both[:1], syscall.SIGUSR2},
		{"the server a day behind", both[:1], syscall.SIGUSR2},
		{"the client a day behind too", both[1:], syscall.SIGUSR2},
		{"both right again", both, syscall.SIGUSR1},
		{"both a day ahead", both, syscall.SIGUSR1},
		{"the client right again", both[1:], syscall.SIGUSR2},
		{"the client a day behind, the server right", both, syscall.SIGUSR2},
	} {
		for _, half := range step.halves {
			turn(t, half, step.by)
		}
		works(step.when)
		another(step.when)
	}
	// At the server those of the further clients end, which were killed.
	for _, word := range []string{"path died", "subflow ended", "session ended", "ERR"} {
		if strings.Contains(p.Client.Output(), word) {
			t.Errorf("the client says %q:\n%s", word, p.Client.Output())
		}
	}
	// Far beyond what proofs allow, what is up goes on, too.
	for range 30 {
		turn(t, p.Server, syscall.SIGUSR1)
	}
	works("the server a month ahead")
}
