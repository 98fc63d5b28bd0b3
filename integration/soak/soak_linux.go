package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mpsocks/mpsocks/integration/bench/halves"
	"github.com/mpsocks/mpsocks/integration/netlab"
)

const (
	associationsAtOnce = 20
	connectsAtOnce     = 20
	// warmUp is how long all subflows have before anything is measured.
	warmUp = 3 * time.Second
	// readyTime is how long the tunnel may take to come back once everything is there, and
	// to come up at first.
	readyTime = 8 * time.Second
)

// soak is a network with both halves in it, and all that goes through them.
type soak struct {
	lab     *netlab.Lab
	dir     string
	config  halves.Config
	program string
	proxy   string
	pace    pace
	report  *report
	outages outages
	names   *nameServers
	far     *far

	lastFlow   atomic.Uint32
	lastStream atomic.Uint32
	canary     *flow

	mu     sync.Mutex // guards the rest
	client *halves.Process
	server *halves.Process
	past   []*halves.Process // servers that have ended
}

// paths is what lies between the halves.
func paths() []netlab.PathSpec {
	link := func(name string, rate netlab.Rate, oneWay time.Duration) netlab.PathSpec {
		return netlab.Symmetric(name, netlab.Link{Rate: rate, Delay: oneWay, QueueTime: 100 * time.Millisecond})
	}
	return []netlab.PathSpec{
		link("a", netlab.Mbit(40), 8*time.Millisecond),
		link("b", netlab.Mbit(25), 20*time.Millisecond),
		link("c", netlab.Mbit(15), 35*time.Millisecond),
	}
}

// start brings everything up and waits until datagrams come back.
func start(program string, length time.Duration, verbose bool) (s *soak, err error) {
	if program, err = filepath.Abs(program); err != nil {
		return nil, err
	}
	s = &soak{program: program, pace: paceOf(length), report: newReport()}
	s.far = &far{report: s.report, outages: &s.outages, patience: s.patience(), flows: map[uint32]*flow{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, errors.New(s.said()))
			s.stop()
		}
	}()
	if s.dir, err = os.MkdirTemp("", "mpsocks-soak-"); err != nil {
		return s, err
	}
	if s.lab, err = netlab.New(paths()...); err != nil {
		return s, err
	}
	if err := s.startWorld(); err != nil {
		return s, err
	}
	socks, err := halves.FreePorts(1)
	if err != nil {
		return s, err
	}
	s.proxy = socks[0].String()
	s.config = halves.Config{
		Dir: s.dir, Socks: socks, Tunnel: netip.AddrPortFrom(netlab.Server, 7443), Verbose: verbose, Admin: true,
		Allow: []string{netlab.World.String(), netlab.World6.String()},
	}
	for _, p := range s.lab.Paths {
		s.config.Paths = append(s.config.Paths, halves.Path{Name: p.Name, Bind: p.Name, Subflows: 6})
	}
	if err := s.config.Write(program); err != nil {
		return s, err
	}
	if s.server, err = s.half(s.lab.World, "server", s.config.ServerFile); err != nil {
		return s, err
	}
	if s.client, err = s.half(s.lab.Client, "client", s.config.ClientFile); err != nil {
		return s, err
	}
	return s, s.ready()
}

// half starts one. It has the name servers of its namespace, which `ip` puts in place,
// and is before whatever else this machine does: a half that gets no processor drops
// what has waited for too long, as it should.
func (s *soak) half(n *netlab.Namespace, name, file string) (*halves.Process, error) {
	return halves.Run("nice", "-n", "-15", "ip", "netns", "exec", n.Name, s.program, name, "-c", file)
}

// startWorld makes the far ends of everything.
func (s *soak) startWorld() (err error) {
	etc := "/etc/netns/" + s.lab.World.Name
	if err := os.MkdirAll(etc, 0o755); err != nil {
		return err
	}
	resolv := fmt.Sprintf("nameserver %v\nnameserver %v\n", nameAddrs[0], nameAddrs[1])
	if err := os.WriteFile(etc+"/resolv.conf", []byte(resolv), 0o644); err != nil {
		return err
	}
	if s.names, err = newNameServers(s.lab.World); err != nil {
		return err
	}
	return s.far.listen(s.lab.World)
}

// ready waits for the first datagram to come back, and for all subflows.
func (s *soak) ready() error {
	up := s.outages.begin(starting)
	defer s.outages.end(up)
	for end := time.Now().Add(readyTime); ; {
		w := s.newFlow(&canary)
		if s.associate(context.Background(), w, 300*time.Millisecond) && w.lastBack.Load() > 0 {
			time.Sleep(warmUp)
			s.report.kinds = map[string]*tally{}
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("nothing comes back after %v", readyTime)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// patience is how long nothing may happen in a stream that should move: the longest
// outage, and the time to come back.
func (s *soak) patience() time.Duration { return s.pace.suspend + 12*s.pace.unit + 30*time.Second }

// traffic runs all associations and CONNECTs beside what happens, for the time.
func (s *soak) traffic(ctx context.Context, seed uint64, length time.Duration, happen func(context.Context)) {
	ctx, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	s.report.begin = time.Now()
	s.canary = s.newFlow(&canary)
	var wg sync.WaitGroup
	wg.Go(func() { s.associate(ctx, s.canary, length) })
	for i := range associationsAtOnce {
		wg.Go(func() { s.associations(ctx, rand.New(rand.NewPCG(seed, uint64(100+i)))) })
	}
	for i := range connectsAtOnce {
		wg.Go(func() { s.connects(ctx, rand.New(rand.NewPCG(seed, uint64(200+i)))) })
	}
	wg.Go(func() { s.observe(ctx) })
	wg.Go(func() { s.standstills(ctx) })
	happen(ctx)
	wg.Wait()
}

// observe says once a minute how the halves are.
func (s *soak) observe(ctx context.Context) {
	for {
		pause(ctx, time.Minute)
		if ctx.Err() != nil {
			return
		}
		f := s.footprints()
		s.report.say("client %v; server %v", f[0], f[1])
	}
}

// standstills notes when this process got no processor for so long that the halves may
// not have got one either: then nothing was up.
func (s *soak) standstills(ctx context.Context) {
	const tick, long = 10 * time.Millisecond, 150 * time.Millisecond
	for last := time.Now(); ctx.Err() == nil; {
		pause(ctx, tick)
		now := time.Now()
		if now.Sub(last) > long {
			s.outages.add(span{standstill, last, now})
			s.report.say("the machine stood still for %v", now.Sub(last).Round(time.Millisecond))
		}
		last = now
	}
}

// footprints are those of the client and of the server.
func (s *soak) footprints() [2]footprint {
	s.mu.Lock()
	defer s.mu.Unlock()
	return [2]footprint{footprintOf(s.client.PID()), footprintOf(s.server.PID())}
}

// said is the log of all processes.
func (s *soak) said() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := ""
	for _, p := range s.past {
		text += "server that has ended:\n" + p.Output()
	}
	if s.server != nil {
		text += "server:\n" + s.server.Output()
	}
	if s.client != nil {
		text += "client:\n" + s.client.Output()
	}
	return text
}

// stop takes everything down, whatever of it there is.
func (s *soak) stop() {
	s.mu.Lock()
	for _, p := range []*halves.Process{s.client, s.server} {
		if p != nil {
			p.Kill()
		}
	}
	s.mu.Unlock()
	s.far.close()
	if s.names != nil {
		s.names.close()
	}
	if s.lab != nil {
		os.RemoveAll("/etc/netns/" + s.lab.World.Name)
		s.lab.Close()
	}
	os.RemoveAll(s.dir)
}
