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

// away watches all devices beside the client for what is not the tunnel's: but for how
// neighbours are found, and the host's own loopback, nothing else belongs there. What it
// returns ends that, and fails the test for whatever went by.
func (l *land) away() func() {
	l.t.Helper()
	p := l.start(l.near, "tcpdump", "-lnni", "any", "not", "(", "tcp", "port", tunnelPort, "or", "arp",
		"or", "(", "icmp6", "and", "ip6[40]", ">=", "133", ")", "or", "dst", "net", "ff02::/16", "or", "net", "127.0.0.0/8", "or", "host", "::1", ")")
	for range 200 {
		if strings.Contains(p.Output(), "listening on") {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	return func() {
		l.t.Helper()
		time.Sleep(300 * time.Millisecond) // what was sent last is written
		_, _ = p.Stop()
		for line := range strings.Lines(p.Output()) {
			if strings.Contains(line, " > ") {
				l.t.Errorf("went around the tunnel: %s", line)
			}
		}
	}
}

// bound waits until something takes datagrams beside the server.
func (l *land) bound(address, port string) {
	l.t.Helper()
	l.boundIn(l.far, address, port)
}

func (l *land) boundIn(ns, address, port string) {
	l.t.Helper()
	for range 600 {
		if out, err := exec.Command("ip", "netns", "exec", ns, "ss", "-Huln", "sport = :"+port).Output(); err == nil && strings.Contains(string(out), address) {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	l.t.Fatalf("nothing is bound to port %s of %s", port, address)
}

// place copies a program of testdata to where the land's programs may read it.
func (l *land) place(name string) string {
	l.t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	path := filepath.Join(l.dir, name)
	if err == nil {
		err = os.WriteFile(path, b, 0o644)
	}
	if err != nil {
		l.t.Fatal(err)
	}
	return path
}

// outlives: programs of all kinds go on while their client is killed and another one comes:
// meanwhile their traffic waits.
func (l *land) outlives(t *testing.T, flags []string, client *halves.Process) {
	const say = `import socket,sys
s = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(1); s.sendto(b"hello", (sys.argv[1], 7777)); s.recv(100)`
	echo := l.place("tellecho.py")
	for _, a := range []string{farAddress, farAddress6} {
		l.start(l.far, python, echo, a, "7777")
		l.bound(a, "7777")
	}
	programs := map[string]string{
		"the C library":     "getent ahostsv4 web.test",
		"DNS":               "dig +time=1 +tries=1 web.test",
		"DNS over TCP":      "dig +tcp +time=1 +tries=1 web.test",
		"HTTP":              "curl -s -m 1 -o /dev/null http://web.test:8000/",
		"HTTP by IPv6":      "curl -sg -m 1 -o /dev/null http://[" + farAddress6 + "]:8000/",
		"datagrams":         python + " -c '" + say + "' " + farAddress,
		"datagrams of IPv6": python + " -c '" + say + "' " + farAddress6,
		"ping":              "ping -c 1 -W 1 " + farAddress,
		"ping by IPv6":      "ping -c 1 -W 1 " + farAddress6,
		"a shell's own":     "timeout 1 bash -c 'exec 3<>/dev/tcp/" + farAddress + "/8000'",
	}
	running := make(map[string]*halves.Process)
	for name, line := range programs {
		line = fmt.Sprintf("while ! [ -e %s/run/stop ]; do if %s >/dev/null 2>&1; then echo up; else echo down; fi; sleep .1; done", l.dir, line)
		args := l.asNobody(append(append([]string{mpsocks, "run"}, flags...), "--", "sh", "-c", line)...)
		p, err := halves.Run(args[0], args[1:]...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Kill)
		running[name] = p
	}
	// all waits until each has said a word since it was called.
	all := func(word string) {
		t.Helper()
		before := make(map[string]int)
		for name, p := range running {
			before[name] = strings.Count(p.Output(), word)
		}
		for name, p := range running {
			for range 400 {
				if strings.Count(p.Output(), word) > before[name] {
					break
				}
				time.Sleep(50 * time.Millisecond)
			}
			if strings.Count(p.Output(), word) == before[name] {
				t.Errorf("%s is never %s; it said %.500q", name, word, p.Output())
			}
		}
	}
	all("up")
	client.Kill()
	all("down")
	all("down") // the second time all of it is without a client
	l.startClient()
	all("up")
	l.sh("touch %s", filepath.Join(l.dir, "run", "stop"))
	for _, p := range running {
		_ = p.Wait(10 * time.Second)
	}
}
