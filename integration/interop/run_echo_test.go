package interop

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// ping(8) and traceroute(8) of a program in the tunnel are answered by who they ask, as
// the exit hears it, and a datagram to a closed port fails at once, in both families.
func TestRunEcho(t *testing.T) {
	t.Parallel()
	for _, p := range []string{"ping", "traceroute"} {
		need(t, p)
	}
	l := newLand(t)
	l.startClient()
	socket := []string{"--socket", filepath.Join(l.dir, "run", "run.sock")}
	for _, to := range []string{farAddress, farAddress6, "web.test", "198.18.0.1", "fd6d:7073::1"} {
		if out, st := l.run(socket, "ping", "-c", "3", "-i", "0.2", "-W", "2", to); st.ExitStatus() != 0 || !strings.Contains(out, "3 received") || !strings.Contains(out, "ttl=64") {
			t.Errorf("ping %s: %d\n%s", to, st.ExitStatus(), out)
		}
	}
	for _, size := range []string{"0", "1472", "40000", "65000"} {
		for _, to := range []string{farAddress, farAddress6} {
			if out, st := l.run(socket, "ping", "-c", "1", "-W", "3", "-s", size, to); st.ExitStatus() != 0 {
				t.Errorf("ping of %s bytes: %s", size, out)
			}
		}
	}
	// Two programs at once with one identifier would be mixed up otherwise.
	if out, st := l.run(socket, "sh", "-c", "ping -q -c 20 -i 0.05 "+farAddress+" & ping -q -c 20 -i 0.05 "+farAddress6+" & wait"); strings.Count(out, "20 received") != 2 || strings.Contains(out, "duplicates") {
		t.Errorf("two at once: %d\n%s", st.ExitStatus(), out)
	}
	// The rules refuse it: the program is told, at once.
	began := time.Now()
	if out, st := l.run(socket, "ping", "-c", "1", "-W", "9", "192.168.9.9"); st.ExitStatus() != 1 || !strings.Contains(out, "Packet filtered") || time.Since(began) > 8*time.Second {
		t.Errorf("ping of what is refused: %d after %v\n%s", st.ExitStatus(), time.Since(began), out)
	}
	hop := regexp.MustCompile(`(?m)^ 1 .*198\.18\.0\.1 .*\n 2 .*` + regexp.QuoteMeta(farAddress))
	for _, kind := range []string{"-U", "-I"} {
		out, st := l.run(socket, "traceroute", "-n", "-q", "3", "-w", "3", kind, "-p", "34000", farAddress)
		if kind == "-I" && strings.Contains(out, "privileges") {
			continue // older ones want a raw socket
		}
		if st.ExitStatus() != 0 || !hop.MatchString(out) {
			t.Errorf("traceroute %s: %d\n%s", kind, st.ExitStatus(), out)
		}
	}
	// Nobody is at that port: no time-out of 20 s.
	for _, to := range []string{farAddress, farAddress6} {
		began := time.Now()
		if out, st := l.run(socket, "dig", "+time=20", "+tries=1", "-p", "4053", "@"+to, "web.test"); st.ExitStatus() == 0 || !strings.Contains(out, "refused") || time.Since(began) > 15*time.Second {
			t.Errorf("dig at a closed port of %s: %d after %v\n%s", to, st.ExitStatus(), time.Since(began), out)
		}
	}
	// Of a flood most is answered, and the client has lost nothing else by it.
	if out, st := l.run(socket, "ping", "-q", "-c", "200", "-i", "0.002", farAddress); st.ExitStatus() != 0 {
		t.Errorf("ping -f: %s", out)
	}
}
