package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/mpsocks/mpsocks/integration/bench/halves"
)

// A front is a way for a program to the target.
type front struct {
	name  string
	proxy bool // the program speaks SOCKS itself
	start func(r *rig) (running, error)
}

// running is a front that has been started: how a program is run behind it, and whose
// processor time it costs.
type running struct {
	command func(args []string) []string
	pids    []int
	stop    func()
}

// cpu is what the processes of a front have used so far, in user and system mode.
func (r running) cpu() (sum time.Duration) {
	const tick = 10 * time.Millisecond // USER_HZ, which no system changes
	for _, pid := range r.pids {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
		user, _ := strconv.Atoi(f[11])
		system, _ := strconv.Atoi(f[12])
		sum += time.Duration(user+system) * tick
	}
	return sum
}

// beside runs a program in the client's own namespace.
func beside(r *rig) func(args []string) []string {
	return func(args []string) []string { return append([]string{"ip", "netns", "exec", r.near}, args...) }
}

func fronts(tools string) []*front {
	return []*front{
		{name: "socks", proxy: true, start: func(r *rig) (running, error) {
			return running{command: beside(r), pids: []int{r.client.PID()}, stop: func() {}}, nil
		}},
		{name: "run", start: func(r *rig) (running, error) {
			return running{command: func(args []string) []string {
				return append([]string{"ip", "netns", "exec", r.near, r.mpsocks, "run", "--socket", filepath.Join(r.dir, "run.sock"), "--"}, args...)
			}, pids: []int{r.client.PID()}, stop: func() {}}, nil
		}},
		{name: "tun2socks", start: func(r *rig) (running, error) {
			return device(r, "fronts0", filepath.Join(tools, "tun2socks"), "-device", "tun://fronts0", "-proxy", "socks5://"+socksAddr, "-loglevel", "error")
		}},
		{name: "sing-box", start: func(r *rig) (running, error) {
			file := filepath.Join(r.dir, "sing-box.json")
			config := `{"log":{"level":"error"},"inbounds":[{"type":"tun","interface_name":"fronts1","address":["172.31.9.1/30"],"mtu":9000,"auto_route":false,"stack":"mixed"}],
"outbounds":[{"type":"socks","server":"127.0.0.1","server_port":1080}]}`
			if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
				return running{}, err
			}
			return device(r, "fronts1", filepath.Join(tools, "sing-box"), "run", "-c", file)
		}},
		{name: "slirp4netns", start: slirp},
	}
}

// device starts a program with a TUN device in the client's namespace, and has the target
// be behind that.
func device(r *rig, link, program string, args ...string) (running, error) {
	if _, err := exec.LookPath(program); err != nil {
		return running{}, fmt.Errorf("there is no %s", program)
	}
	abs, err := filepath.Abs(program)
	if err != nil {
		return running{}, err
	}
	p, err := halves.Run("ip", append([]string{"netns", "exec", r.near, abs}, args...)...)
	if err != nil {
		return running{}, err
	}
	for range 100 {
		if err = r.sh("ip -n %s link show %s", r.near, link); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err == nil {
		err = r.sh("ip -n %[1]s link set %[2]s up && (ip -n %[1]s addr add 172.31.9.1/30 dev %[2]s 2>/dev/null || true) && ip -n %[1]s route add %[3]s/32 dev %[2]s", r.near, link, target)
	}
	if err != nil {
		err = fmt.Errorf("%w; it said: %s", err, p.Output())
		p.Kill()
		return running{}, err
	}
	time.Sleep(300 * time.Millisecond)
	return running{beside(r), []int{r.client.PID(), p.PID()}, p.Kill}, nil
}

// slirp is a network without a proxy: what a user's own network costs at least.
func slirp(r *rig) (running, error) {
	if _, err := exec.LookPath("slirp4netns"); err != nil {
		return running{}, err
	}
	sleeper, err := halves.Run("unshare", "-n", "sleep", "3600")
	if err != nil {
		return running{}, err
	}
	time.Sleep(200 * time.Millisecond)
	if err := r.sh("ip -n %s route add %s/32 via %s", r.near, target, tunnelAddr); err != nil {
		sleeper.Kill()
		return running{}, err
	}
	pid := strconv.Itoa(sleeper.PID())
	p, err := halves.Run("ip", "netns", "exec", r.near, "slirp4netns", "--configure", "--mtu=65520", pid, "tap0")
	stop := func() {
		if p != nil {
			p.Kill()
		}
		sleeper.Kill()
		r.sh("ip -n %s route del %s/32 via %s", r.near, target, tunnelAddr)
	}
	if err != nil {
		stop()
		return running{}, err
	}
	for range 60 {
		if err = r.sh("nsenter -t %s -n ip route get %s", pid, target); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err != nil {
		err = fmt.Errorf("%w; it said: %s", err, p.Output())
		stop()
		return running{}, err
	}
	return running{func(args []string) []string { return append([]string{"nsenter", "-t", pid, "-n"}, args...) }, []int{p.PID()}, stop}, nil
}
