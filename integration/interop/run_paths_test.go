package interop

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/integration/bench/halves"
)

// secondCable adds another way to the server, and makes the two the client's paths: dsl
// by v0, and lte by v2, metered.
func (l *land) secondCable() {
	l.t.Helper()
	l.sh("ip link add v2 netns %s type veth peer name v3 netns %s", l.near, l.far)
	l.sh("ip -n %[1]s addr add 10.56.0.2/24 dev v2 && ip -n %[1]s link set v2 up", l.near)
	l.sh("ip -n %[1]s addr add 10.56.0.1/24 dev v3 && ip -n %[1]s link set v3 up", l.far)
	l.lteRoute()
	for _, ns := range []string{l.near, l.far} {
		l.sh("ip netns exec %s sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0", ns)
	}
	l.edit("client.yaml", "paths: []", "paths: [{name: dsl, bind: v0}, {name: lte, bind: v2, metered: true}]")
	l.sh("sed -i 's|^admin: .*|admin: unix:%s|' %s && chown 65534:65534 %[2]s", filepath.Join(l.dir, "run", "admin.sock"), l.file)
}

func (l *land) lteRoute() {
	l.t.Helper()
	l.sh("ip -n %s route replace %s/32 via 10.56.0.1 dev v2 metric 500", l.near, farAddress)
}

// carried is how many bytes an interface beside the client has carried both ways.
func (l *land) carried(link string) (up, down int64) {
	l.t.Helper()
	read := func(what string) int64 {
		out, err := exec.Command("ip", "netns", "exec", l.near, "cat", "/sys/class/net/"+link+"/statistics/"+what+"_bytes").Output()
		n, bad := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
		if err != nil || bad != nil {
			l.t.Fatalf("%s: %v, %v", link, err, bad)
		}
		return n
	}
	return read("tx"), read("rx")
}

// A program has the paths that it is given, both ways, by UDP and TCP, and no other, also
// where these are metered, and where none of them works: then its traffic waits. Another
// program's goes on. Names that there are not are refused with those that there are.
func TestRunPaths(t *testing.T) {
	t.Parallel()
	l := newLand(t)
	l.secondCable()
	l.startClient()
	socket := []string{"--socket", filepath.Join(l.dir, "run", "run.sock")}
	by := func(paths ...string) []string { return append(socket[:2:2], paths...) }
	if out, st := l.run(by("--paths", "lte,wifi"), "true"); st.ExitStatus() == 0 || !strings.Contains(out, `no path is called "wifi"; there are dsl, lte`) {
		t.Errorf("a path that there is not: %d, %s", st.ExitStatus(), out)
	}
	// Both paths are up.
	for range 100 {
		if out, _ := exec.Command("ip", "netns", "exec", l.far, "ss", "-Htn", "state", "established", "sport = :"+tunnelPort).Output(); strings.Contains(string(out), "10.56.0.2") && strings.Contains(string(out), "10.55.0.2") {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	for _, path := range []struct{ name, link, other string }{{"lte", "v2", "v0"}, {"dsl", "v0", "v2"}} {
		for _, args := range [][]string{{"-u", "-b", "20M", "-l", "1200"}, {"-u", "-b", "20M", "-l", "1200", "-R"}, {"-b", "40M"}, {"-b", "40M", "-R"}} {
			classes := [][]string{nil}
			if path.name == "lte" && slices.Contains(args, "-R") {
				classes = append(classes, []string{"--class", "bulk"}, []string{"--class", "latency"})
			}
			for _, class := range classes {
				up0, down0 := l.carried(path.link)
				otherUp0, otherDown0 := l.carried(path.other)
				out, st := l.run(by(append([]string{"--paths", path.name}, class...)...), append([]string{"iperf3", "-c", farAddress, "-t", "1"}, args...)...)
				up, down := l.carried(path.link)
				otherUp, otherDown := l.carried(path.other)
				up, down, otherUp, otherDown = up-up0, down-down0, otherUp-otherUp0, otherDown-otherDown0
				if st.ExitStatus() != 0 || max(up, down) < 1<<20 || max(otherUp, otherDown) > (up+down)/4 {
					t.Errorf("%s %q %q: %d bytes up, %d down, and %d, %d by the other path: %s", path.name, args, class, up, down, otherUp, otherDown, out)
				}
			}
		}
	}
	// Status knows the program with what it wants.
	line := l.asNobody(append(append([]string{mpsocks, "run"}, by("--paths", "lte", "--class", "backup", "--name", "torrent")...),
		"--", "iperf3", "-c", farAddress, "-t", "20", "-b", "1M")...)
	program, err := halves.Run(line[0], line[1:]...)
	if err != nil {
		t.Fatal(err)
	}
	defer program.Kill()
	type shown struct {
		Name, Class string
		Only        []string
	}
	found := shown{}
	for range 100 {
		out, err := exec.Command("ip", "netns", "exec", l.near, mpsocks, "status", "--json", "--admin", "unix:"+filepath.Join(l.dir, "run", "admin.sock")).Output()
		var s struct {
			Programs []struct {
				Program, Class string
				Only           []string
			}
		}
		if err == nil && json.Unmarshal(out, &s) == nil {
			for _, p := range s.Programs {
				if p.Program == "torrent" {
					found = shown{p.Program, p.Class, p.Only}
				}
			}
		}
		if found.Name != "" {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if found.Name != "torrent" || found.Class != "backup" || strings.Join(found.Only, " ") != "lte" {
		t.Errorf("status has %+v", found)
	}
	program.Kill()
	// Without its path it waits; another program does not.
	up0, _ := l.carried("v0")
	l.sh("ip -n %s link set v2 down", l.near)
	if out, st := l.run(by("--paths", "lte"), "dig", "+short", "+time=2", "+tries=1", "web.test"); st.ExitStatus() == 0 {
		t.Errorf("by another path: %s", out)
	}
	if up, _ := l.carried("v0"); up-up0 > 100<<10 {
		t.Errorf("%d bytes by the other path", up-up0)
	}
	if out, _ := l.run(socket, "dig", "+short", "+time=3", "+tries=1", "web.test"); strings.TrimSpace(out) != farAddress {
		t.Errorf("another program: %q", out)
	}
	waiting := l.asNobody(append(append([]string{mpsocks, "run"}, by("--paths", "lte")...), "--", "curl", "-sS", "-m", "25", "-o", "/dev/null", "-w", "%{http_code}\n", "http://"+farAddress+":8000/")...)
	curl, err := halves.Run(waiting[0], waiting[1:]...)
	if err != nil {
		t.Fatal(err)
	}
	defer curl.Kill()
	time.Sleep(time.Second)
	if strings.Contains(curl.Output(), "200") {
		t.Error("curl came through without its path")
	}
	l.sh("ip -n %s link set v2 up", l.near)
	l.lteRoute()
	for range 400 {
		if strings.Contains(curl.Output(), "200") {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if !strings.Contains(curl.Output(), "200") {
		t.Errorf("curl does not go on with its path: %q", curl.Output())
	}
}
