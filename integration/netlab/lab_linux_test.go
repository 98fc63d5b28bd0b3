package netlab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	Main()
	runtime.GOMAXPROCS(8) // see Realtime
	Hasten()
	// The kernel turns receive time stamps on with delay when the first socket asks for them: ask long before.
	if fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0); err == nil {
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	}
	goleak.VerifyTestMain(m)
}

// newLab builds a lab for one test, or skips it with the reason.
func newLab(t *testing.T, specs ...PathSpec) *Lab {
	t.Helper()
	if err := Available(); err != nil {
		t.Skip("no network lab: ", err)
	}
	l, err := New(specs...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// attempt runs a measurement up to three times: other work on the machine may spoil one, a fault spoils all. When
// others had more than Busy of the processors in every spoiled attempt, nothing can be said, and the test skips.
func attempt(t *testing.T, l *Lab, measure func() error) {
	t.Helper()
	quiet := error(nil)
	for range 3 {
		others := Others(func() time.Duration { return ProcessCPU(os.Getpid()) + l.CPU() })
		err := measure()
		if err == nil {
			return
		}
		share := others()
		t.Logf("spoiled, while others used %.0f %% of the machine: %v", 100*share, err)
		if share < Busy {
			quiet = err
		}
	}
	if quiet == nil {
		t.Skip("the machine is too busy with other work")
	}
	t.Error(quiet)
}

// flow is one UDP stream from the client to the world by one path, timed by the sender's clock and the receiving
// socket's kernel time stamps.
type flow struct {
	sent     int
	latency  []time.Duration
	err      []time.Duration // of the delay: against the model, fed with the times at which the packets were sent
	bytes    int
	from, to time.Time // first and last arrival
}

// blast sends payloads of the size at a constant rate for a time.
func blast(t *testing.T, l *Lab, p *Path, port uint16, size int, rate Rate, long time.Duration) *flow {
	t.Helper()
	to := netip.AddrPortFrom(World, port)
	in, err := l.World.ListenUDP(to)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := in.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
		unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20)
	})
	out, err := l.Client.Dial(context.Background(), "udp", p.ClientAddr(), to)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	f := &flow{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		link, _ := p.Links()
		var free time.Time // when the link of the model is
		buf, oob := make([]byte, 2048), make([]byte, 128)
		for {
			n, oobn, _, _, err := in.ReadMsgUDPAddrPort(buf, oob)
			if err != nil {
				return
			}
			// struct cmsghdr of 16 bytes, then the timespec
			sec, nsec := binary.NativeEndian.Uint64(oob[16:oobn]), binary.NativeEndian.Uint64(oob[24:oobn])
			at := time.Unix(int64(sec), int64(nsec))
			sent := time.Unix(0, int64(binary.NativeEndian.Uint64(buf)))
			f.latency = append(f.latency, at.Sub(sent))
			if free.Before(sent) {
				free = sent
			}
			if link.Rate > 0 {
				free = free.Add(time.Duration(float64(n+28) * 8e9 / float64(link.Rate)))
			}
			f.err = append(f.err, at.Sub(free.Add(link.Delay)))
			f.bytes += n + 28
			if f.from.IsZero() {
				f.from = at
			}
			f.to = at
		}
	}()
	payload := make([]byte, size)
	every := time.Duration(float64(size+28) * 8e9 / float64(rate))
	restore := Realtime(PriorityLoad)
	start := time.Now()
	for due := time.Duration(0); due < long; due += every {
		// What is late is made good at once, in a bunch.
		if d := due - time.Since(start); d > 0 {
			ts := unix.NsecToTimespec(int64(d))
			unix.Nanosleep(&ts, nil) // the thread's own sleep: the runtime's timers wait for an ordinary thread
		}
		binary.NativeEndian.PutUint64(payload, uint64(time.Now().UnixNano()))
		if _, err := out.Write(payload); err == nil {
			f.sent++
		}
	}
	restore()
	up, _ := p.Links()
	time.Sleep(up.Delay + up.Jitter + 150*time.Millisecond)
	in.Close()
	<-done
	return f
}

func percentile(d []time.Duration, q float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return d[int(float64(len(d)-1)*q)]
}

func (f *flow) mbit() float64 { return float64(f.bytes) * 8 / f.to.Sub(f.from).Seconds() / 1e6 }

func TestDelay(t *testing.T) {
	for name, c := range map[string]struct {
		links []Link
		size  int
		rate  Rate
	}{
		"300 Mbit/s in all": {[]Link{{Delay: 10 * time.Millisecond, Rate: Mbit(250)}, {Delay: 35 * time.Millisecond, Rate: Mbit(250)}}, 1172, Mbit(150)},
		"500 packets/s":     {[]Link{{Delay: 10 * time.Millisecond}}, 172, 200 * 8 * 500},
	} {
		t.Run(name, func(t *testing.T) {
			var specs []PathSpec
			for i, link := range c.links {
				specs = append(specs, Symmetric(fmt.Sprint("p", i), link))
			}
			l := newLab(t, specs...)
			attempt(t, l, func() error {
				var wg sync.WaitGroup
				errs := make([]error, len(specs))
				for i, p := range l.Paths {
					wg.Go(func() {
						f := blast(t, l, p, uint16(5000+i), c.size, c.rate, 1500*time.Millisecond)
						low, high := percentile(f.err, .01), percentile(f.err, .99)
						t.Logf("path %s: %d of %d, latency p50 %v, error p1 %v p50 %v p99 %v p99.9 %v", p.Name, len(f.latency), f.sent,
							percentile(f.latency, .5), low, percentile(f.err, .5), high, percentile(f.err, .999))
						if len(f.latency) != f.sent || low < -50*time.Microsecond || high > time.Millisecond {
							errs[i] = fmt.Errorf("path %s: %d of %d arrived, error %v at p1, %v at p99, want under 1 ms", p.Name, len(f.latency), f.sent, low, high)
						}
					})
				}
				wg.Wait()
				return errors.Join(errs...)
			})
			up, _, err := l.Paths[0].Stats()
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("forwarder: late p50 %v p99 %v max %v, used %v of processor time", up.LateP50, up.LateP99, up.LateMax, l.CPU())
		})
	}
}

func TestRate(t *testing.T) {
	l := newLab(t,
		Symmetric("a", Link{Delay: 5 * time.Millisecond, Rate: Mbit(50)}),
		Symmetric("b", Link{Delay: 5 * time.Millisecond, Rate: Mbit(8)}))
	attempt(t, l, func() error {
		var wg sync.WaitGroup
		errs := make([]error, 2)
		for i, p := range l.Paths {
			wg.Go(func() {
				up, _ := p.Links()
				f := blast(t, l, p, uint16(5000+i), 1172, up.Rate*5/4, 2*time.Second)
				t.Logf("path %s: %.2f Mbit/s", p.Name, f.mbit())
				if r := f.mbit() / up.Rate.Mbit(); math.Abs(r-1) > 0.02 {
					errs[i] = fmt.Errorf("path %s carried %.2f Mbit/s of %v", p.Name, f.mbit(), up.Rate)
				}
			})
		}
		wg.Wait()
		return errors.Join(errs...)
	})
}

func TestLoss(t *testing.T) {
	l := newLab(t, Symmetric("a", Link{Delay: 5 * time.Millisecond, Loss: 0.02}))
	attempt(t, l, func() error {
		f := blast(t, l, l.Paths[0], 5002, 172, Mbit(16), 2*time.Second) // 10,000 packets/s
		lost := 1 - float64(len(f.latency))/float64(f.sent)
		t.Logf("lost %.4f of %d", lost, f.sent)
		if sigma := math.Sqrt(0.02 * 0.98 / float64(f.sent)); math.Abs(lost-0.02) > 4*sigma {
			return fmt.Errorf("lost %.4f of %d, want 0.02 ± %.4f", lost, f.sent, 4*sigma)
		}
		return nil
	})
}

// ping says whether a datagram by the path comes through within a tenth of a second.
func ping(t *testing.T, l *Lab, from netip.Addr, to net.PacketConn) bool {
	t.Helper()
	c, err := l.Client.Dial(context.Background(), "udp", from, netip.MustParseAddrPort(to.LocalAddr().String()))
	if err != nil {
		return false
	}
	defer c.Close()
	if _, err := c.Write([]byte("ping")); err != nil {
		return false
	}
	to.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	_, _, err = to.ReadFrom(make([]byte, 64))
	return err == nil
}

func TestLiveChanges(t *testing.T) {
	l := newLab(t, Symmetric("a", Link{Delay: time.Millisecond}), Symmetric("b", Link{Delay: time.Millisecond}))
	in, err := l.World.ListenUDP(netip.AddrPortFrom(World, 5000))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	in6, err := l.World.ListenUDP(netip.AddrPortFrom(World6, 5000))
	if err != nil {
		t.Fatal(err)
	}
	defer in6.Close()
	a, b := l.Path("a"), l.Path("b")
	expect := func(what string, p *Path, want bool) {
		t.Helper()
		if got := ping(t, l, p.ClientAddr(), in); got != want {
			t.Errorf("%s: path %s works: %v, want %v", what, p.Name, got, want)
		}
		if got := ping(t, l, p.ClientAddr6(), in6); got != want {
			t.Errorf("%s: path %s in IPv6 works: %v, want %v", what, p.Name, got, want)
		}
	}
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	expect("at first", a, true)
	expect("at first", b, true)
	do(b.SetBlackHole(true))
	expect("black hole on b", b, false)
	expect("black hole on b", a, true)
	do(b.SetBlackHole(false))
	expect("black hole gone", b, true)
	do(a.Down())
	expect("a down", a, false)
	expect("a down", b, true)
	if !ping(t, l, netip.Addr{}, in) {
		t.Error("a down: the default route is not b's")
	}
	do(a.Up())
	expect("a up", a, true)
	old := a.ClientAddr()
	do(a.Renumber())
	expect("renumbered", a, true)
	if a.ClientAddr() == old || ping(t, l, old, in) {
		t.Errorf("renumbered: %s still works, now %s", old, a.ClientAddr())
	}
	up, _, err := b.Stats()
	do(err)
	if up.Swallowed == 0 || up.Delivered == 0 {
		t.Errorf("statistics of b: %+v", up)
	}
	if err := b.Change(func(l *Link) { l.Loss = 2 }); err == nil {
		t.Error("a loss of 2 was accepted")
	}
}

func TestCommandsAndStreams(t *testing.T) {
	l := newLab(t, Symmetric("dsl", Link{Delay: 2 * time.Millisecond, Rate: Mbit(200)}))
	ln, err := l.World.Listen(netip.AddrPortFrom(Server, 443))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		if c, err := ln.Accept(); err == nil {
			c.Write([]byte("hello"))
			c.Close()
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c, err := l.Client.Dial(ctx, "tcp", l.Paths[0].ClientAddr(), netip.AddrPortFrom(Server, 443))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b := make([]byte, 16)
	if n, err := c.Read(b); string(b[:n]) != "hello" {
		t.Errorf("read %q, %v", b[:n], err)
	}
	cmd := exec.Command("cat", "/proc/net/dev")
	var said strings.Builder
	cmd.Stdout = &said
	if err := l.Client.Start(cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil || !strings.Contains(said.String(), "dsl:") {
		t.Errorf("a command in the namespace sees %q, %v", said.String(), err)
	}
}

func TestCloseAndSweepLeaveNothing(t *testing.T) {
	l := newLab(t, Symmetric("a", Link{}))
	names := []string{l.Client.Name, l.World.Name}
	l.Close()
	// A namespace of a process that cannot exist any more: our number, another start time.
	stale := strings.Replace(ownName(), "-"+startTime("self")+"-", "-1-", 1) + "9-client"
	if n, err := newNamespace(stale); err != nil {
		t.Fatal(err)
	} else {
		n.links.Close()
		n.handle.Close()
	}
	sweep()
	for _, name := range append(names, stale) {
		if _, err := os.Stat(runDir + "/" + name); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there: %v", name, err)
		}
	}
}
