package interop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/integration/bench/halves"
)

// Each of two paths dies in turn, without a word, beneath a call and a flood of a program in
// the tunnel, a call through SOCKS, and a visitor's call to a published port: the calls go on,
// the one as the other.
func TestRunPathDeath(t *testing.T) {
	need(t, "nft")
	l := newLand(t)
	l.secondCable()
	l.edit("client.yaml", ", metered: true", "")
	// Not an address of either cable: it stays when one is cut.
	const target = "10.55.9.9"
	l.sh("ip -n %s addr add %s/32 dev lo", l.far, target)
	l.sh("echo 'publish: [{listen: \"%[2]s:%[3]s\", to: \"127.0.0.1:%[3]s\"}]' >> %[1]s", l.file, target, publishPort)
	l.sh("chown 65534:65534 %s", l.file)
	l.startClient()
	for _, p := range []string{"tellecho.py", "call.py"} {
		b, err := os.ReadFile(filepath.Join("testdata", p))
		if err == nil {
			err = os.WriteFile(filepath.Join(l.dir, p), b, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	l.start(l.far, python, filepath.Join(l.dir, "tellecho.py"), target, "7777")
	l.start(l.near, python, filepath.Join(l.dir, "tellecho.py"), "127.0.0.1", publishPort)
	l.bound(target, "7777")
	l.bound(target, publishPort)
	l.boundIn(l.near, "127.0.0.1", publishPort)
	for range 100 {
		if out, _ := exec.Command("ip", "netns", "exec", l.far, "ss", "-Htn", "state", "established", "sport = :"+tunnelPort).Output(); strings.Contains(string(out), "10.56.0.2") && strings.Contains(string(out), "10.55.0.2") {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	const seconds = 8
	socket := []string{"--socket", filepath.Join(l.dir, "run", "run.sock")}
	begin := func(args ...string) *halves.Process {
		args = l.asNobody(args...)
		p, err := halves.Run(args[0], args[1:]...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Kill)
		return p
	}
	inside := append(append([]string{mpsocks, "run"}, socket...), "--")
	call := []string{python, filepath.Join(l.dir, "call.py"), target, "7777", fmt.Sprint(seconds)}
	calls := map[string]*halves.Process{
		"run":              begin(append(inside[:len(inside):len(inside)], call...)...),
		"SOCKS":            begin(append(call[:len(call):len(call)], "1080")...),
		"a published port": l.start(l.far, python, filepath.Join(l.dir, "call.py"), target, publishPort, fmt.Sprint(seconds)),
	}
	flood := begin(append(inside[:len(inside):len(inside)], "iperf3", "-u", "-b", "20M", "-l", "1200", "-c", target, "-t", fmt.Sprint(seconds))...)
	for _, p := range calls {
		for range 200 {
			if strings.Contains(p.Output(), "begins") {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	for _, link := range []string{"v1", "v3"} {
		time.Sleep(1500 * time.Millisecond)
		l.sh("ip netns exec %s nft 'table inet cut { chain in { type filter hook input priority 0; iifname %[2]s drop; }; chain out { type filter hook output priority 0; oifname %[2]s drop; }; }'", l.far, link)
		time.Sleep(1500 * time.Millisecond)
		l.sh("ip netns exec %s nft delete table inet cut", l.far)
	}
	judgeCalls(t, calls, seconds)
	_ = flood.Wait(30 * time.Second)
	if out := flood.Output(); !strings.Contains(out, "receiver") {
		t.Errorf("iperf3 said %s", out)
	}
}

// judgeCalls waits for calls of so many seconds, by what carries them, and wants that next to
// nothing of them was lost and that none was silent for long.
func judgeCalls(t *testing.T, calls map[string]*halves.Process, seconds int) {
	t.Helper()
	for name, p := range calls {
		_ = p.Wait(30 * time.Second)
		var sent, lost, gap int
		_, after, _ := strings.Cut(p.Output(), "sent ")
		if _, err := fmt.Sscanf("sent "+after, "sent %d lost %d gap %d", &sent, &lost, &gap); err != nil {
			t.Errorf("%s: %q", name, p.Output())
			continue
		}
		t.Logf("%s: %d of %d lost, longest gap %d ms", name, lost, sent, gap)
		if sent < seconds*40 || lost > sent/20 || gap > 2500 {
			t.Errorf("%s: %d of %d lost, longest gap %d ms", name, lost, sent, gap)
		}
	}
}
