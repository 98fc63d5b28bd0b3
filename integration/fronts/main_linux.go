// Command fronts measures what a program that speaks no SOCKS gets, and what it costs:
// `mpsocks run`, beside tun2socks and sing-box's TUN in front of the same client's SOCKS
// port, and slirp4netns without a proxy. They run in turns, in two namespaces with a cable
// between them: datagrams of 1,200 bytes as fast as iperf3 sends them, and the highest rate
// of them at which next to none are lost (-even), TCP, processor time, and the round trip of a quiet flow, that also straight through SOCKS. It needs root,
// iperf3 and iproute2; a program that is not there is left out, and said so.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mpsocks/mpsocks/integration/bench/halves"
)

const (
	tunnelAddr = "10.58.0.1" // where the server listens
	clientAddr = "10.58.0.2"
	target     = "10.59.0.1" // where iperf3 and the echo are, beside the server
	echoPort   = "7007"
	socksAddr  = "127.0.0.1:1080"
)

func main() {
	bin := flag.String("mpsocks", "./mpsocks", "the program")
	tools := flag.String("tools", "build/tools", "where tun2socks and sing-box are")
	rounds := flag.Int("rounds", 3, "how often each is measured")
	long := flag.Duration("for", 5*time.Second, "how long each measurement takes")
	even := flag.Bool("even", true, "look for the highest rate at which next to none are lost")
	only := flag.String("only", "", "measure these alone, by name, with commas between")
	echo := flag.String("echo", "", "answer datagrams at this address (started by the program itself)")
	ask := flag.String("ask", "", "print the round trips to this address (started by the program itself)")
	proxy := flag.String("proxy", "", "ask through this SOCKS proxy")
	flag.Parse()
	err := func() error {
		switch {
		case *echo != "":
			return answer(*echo)
		case *ask != "":
			return roundTrips(*ask, *proxy)
		}
		return measure(*bin, *tools, *only, *rounds, *long, *even)
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, "fronts:", err)
		os.Exit(1)
	}
}

// A rig is the two namespaces with what runs in them.
type rig struct {
	near, far, dir string
	mpsocks, self  string
	client         *halves.Process
	started        []*halves.Process
	long           time.Duration
	even           bool
	left           map[string]string // what is not measured, and why
	fronts         []*front
	result         map[string][]figures
}

func (r *rig) sh(format string, args ...any) error {
	line := fmt.Sprintf(format, args...)
	if out, err := exec.Command("sh", "-c", line).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", line, err, out)
	}
	return nil
}

// in starts a program in a namespace, until the rig is taken down.
func (r *rig) in(ns, program string, args ...string) (*halves.Process, error) {
	p, err := halves.Run("ip", append([]string{"netns", "exec", ns, program}, args...)...)
	if err == nil {
		r.started = append(r.started, p)
	}
	return p, err
}

// build makes the namespaces, the halves and the far end.
func build(r *rig) error {
	for _, ns := range []string{r.near, r.far} {
		if err := r.sh("ip netns add %[1]s && ip -n %[1]s link set lo up", ns); err != nil {
			return err
		}
	}
	client, server := filepath.Join(r.dir, "client.yaml"), filepath.Join(r.dir, "server.yaml")
	for _, line := range []string{
		fmt.Sprintf("ip link add v0 netns %s type veth peer name v1 netns %s", r.near, r.far),
		fmt.Sprintf("ip -n %[1]s addr add %[2]s/24 dev v0 && ip -n %[1]s link set v0 up", r.near, clientAddr),
		fmt.Sprintf("ip -n %[1]s addr add %[2]s/24 dev v1 && ip -n %[1]s link set v1 up && ip -n %[1]s addr add %[3]s/32 dev lo", r.far, tunnelAddr, target),
		fmt.Sprintf("%s init --server %s:7443 --dir %s", r.mpsocks, tunnelAddr, r.dir),
		fmt.Sprintf(`sed -i 's|allow: \[\]|allow: ["10.58.0.0/15"]|; s|^admin: .*|admin: ""|' %s && sed -i 's|^admin: .*|admin: ""|' %s && echo 'run_socket: %s/run.sock' >> %[2]s`, server, client, r.dir),
	} {
		if err := r.sh("%s", line); err != nil {
			return err
		}
	}
	for _, args := range [][]string{
		{r.far, r.mpsocks, "server", "-c", server},
		{r.far, "iperf3", "-s", "-B", target}, // else it answers slirp4netns by the cable's address
		{r.far, r.self, "-echo", net.JoinHostPort(target, echoPort)},
	} {
		if _, err := r.in(args[0], args[1], args[2:]...); err != nil {
			return err
		}
	}
	var err error
	if r.client, err = r.in(r.near, r.mpsocks, "client", "-c", client); err != nil {
		return err
	}
	for range 100 {
		if _, err := os.Stat(filepath.Join(r.dir, "run.sock")); err == nil {
			time.Sleep(time.Second) // the subflows
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("the client does not begin: %s", r.client.Output())
}

func (r *rig) down() {
	for _, p := range slices.Backward(r.started) {
		p.Kill()
	}
	for _, ns := range []string{r.near, r.far} {
		exec.Command("ip", "netns", "del", ns).Run()
	}
	os.RemoveAll(r.dir)
}

func measure(bin, tools, only string, rounds int, long time.Duration, even bool) error {
	if os.Geteuid() != 0 {
		return errors.New("needs root, for network namespaces")
	}
	abs, err := filepath.Abs(bin)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "mpsocks-fronts-")
	if err != nil {
		return err
	}
	r := &rig{
		near: fmt.Sprintf("mpfront-a%d", os.Getpid()), far: fmt.Sprintf("mpfront-b%d", os.Getpid()),
		dir: dir, mpsocks: abs, self: self, long: long, even: even, left: make(map[string]string), result: make(map[string][]figures),
	}
	defer r.down()
	if err := build(r); err != nil {
		return err
	}
	for _, f := range fronts(tools) {
		if only == "" || slices.Contains(strings.Split(only, ","), f.name) {
			r.fronts = append(r.fronts, f)
		}
	}
	for round := range rounds {
		for _, f := range r.fronts {
			if r.left[f.name] != "" {
				continue
			}
			got, err := r.one(f)
			if err != nil {
				r.left[f.name] = err.Error()
				fmt.Printf("%s is left out: %v\n", f.name, err)
				continue
			}
			r.result[f.name] = append(r.result[f.name], got)
			fmt.Printf("round %d  %-12s %s\n", round+1, f.name, got)
		}
	}
	report(r)
	return nil
}

// one measures a front, from its start to its end.
func (r *rig) one(f *front) (got figures, err error) {
	running, err := f.start(r)
	if err != nil {
		return got, err
	}
	defer running.stop()
	if got.quiet, err = r.quiet(running, f.proxy); err != nil {
		return got, fmt.Errorf("round trips: %w", err)
	}
	if f.proxy {
		return got, nil // iperf3 speaks no SOCKS
	}
	cpu, overrun := running.cpu(), r.overrun()
	lost, n, err := r.datagrams(running, 0)
	if err != nil {
		return got, fmt.Errorf("datagrams: %w", err)
	}
	got.datagrams, got.lost = float64(n)/r.long.Seconds(), lost
	got.overrun = float64(r.overrun()-overrun) / r.long.Seconds()
	got.cpu = (running.cpu() - cpu).Seconds() / float64(max(n, 1)) * 1e6
	if r.even {
		if got.even, err = r.evenly(running, got.datagrams); err != nil {
			return got, fmt.Errorf("datagrams at a fixed rate: %w", err)
		}
	}
	got.stream, err = r.stream(running)
	return got, err
}

const (
	// evenLoss is what may be lost at a fixed rate, and evenSteps how often the span is
	// halved in which the highest such rate is: to a hundredth of what comes through at
	// most.
	evenLoss  = 0.005
	evenSteps = 7
)

// evenly returns the highest rate of datagrams at which next to none are lost. At most so
// many came through when nobody counted the losses.
func (r *rig) evenly(on running, most float64) (float64, error) {
	good, bad := 0.0, 1.25*most
	for range evenSteps {
		rate := (good + bad) / 2
		lost, _, err := r.datagrams(on, rate)
		switch {
		case err != nil:
			return 0, err
		case lost <= evenLoss:
			good = rate
		default:
			bad = rate
		}
	}
	return good, nil
}

// iperf has iperf3 measure through a front.
func (r *rig) iperf(on running, args ...string) (end iperfEnd, err error) {
	line := on.command(append([]string{"iperf3", "-J", "-c", target, "-t", strconv.Itoa(int(r.long.Seconds()))}, args...))
	ctx, cancel := context.WithTimeout(context.Background(), r.long+10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	cmd.WaitDelay = time.Second
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	var all struct {
		End   iperfEnd
		Error string
	}
	if bad := json.Unmarshal(out, &all); bad != nil || all.Error != "" || err != nil {
		return end, fmt.Errorf("iperf3: %v %s %s", err, all.Error, said.String())
	}
	return all.End, nil
}

// An iperfEnd is the end of iperf3's report.
type iperfEnd struct {
	Sum struct {
		All     int `json:"packets"`
		Missing int `json:"lost_packets"`
	}
	Received struct {
		Rate float64 `json:"bits_per_second"`
	} `json:"sum_received"`
}

// datagrams returns how many of 1,200 bytes came through, and the share that did not, of
// so many a second; 0 is as many as iperf3 can send.
func (r *rig) datagrams(on running, rate float64) (lost float64, n int, err error) {
	var end iperfEnd
	for range 3 { // its first datagram may be lost behind what another front still holds
		if end, err = r.iperf(on, "-u", "-b", fmt.Sprintf("%.0f", rate*1200*8), "-l", "1200"); err == nil {
			break
		}
		time.Sleep(time.Second)
	}
	if err != nil {
		return 0, 0, err
	}
	return float64(end.Sum.Missing) / float64(max(end.Sum.All, 1)), end.Sum.All - end.Sum.Missing, nil
}

// overrun returns how many datagrams have come to a socket beside the server that had no
// room: the program that reads it had not run for too long.
func (r *rig) overrun() int {
	out, _ := exec.Command("ip", "netns", "exec", r.far, "cat", "/proc/net/snmp").Output() // none is 0
	var names []string
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] != "Udp:" {
			continue
		}
		if names == nil {
			names = f
			continue
		}
		if i := slices.Index(names, "RcvbufErrors"); i > 0 && i < len(f) {
			n, _ := strconv.Atoi(f[i])
			return n
		}
	}
	return 0
}

// stream returns what one connection carries, bit/s.
func (r *rig) stream(on running) (float64, error) {
	end, err := r.iperf(on)
	return end.Received.Rate, err
}
