package wild

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mpsocks/mpsocks/status"
)

// A box has its hands on each IP packet that a router forwards: up says that it goes to the
// server. What is given to send goes, that way, at once or later, and as often as it is given.
type box func(up bool, packet []byte, send func(up bool, packet []byte))

// through leads all that router k forwards through a box: lan to a device that the box reads,
// the same from wan, and what it passes on comes out of the other one.
func (c *country) through(k int, b box) {
	c.t.Helper()
	r := fmt.Sprint("r", k)
	var ends [2]*os.File // of near, behind lan, and of far, behind wan
	for i, name := range []string{"near", "far"} {
		c.within(r, func() (err error) {
			ends[i], err = openTUN(name)
			return err
		})
		c.ip(r, "link set "+name+" up")
		c.ip(r, fmt.Sprintf("route add default dev %s table %d", name, 100+i))
		c.ip(r, fmt.Sprintf("rule add iif %s lookup %d priority 10", []string{"lan", "wan"}[i], 100+i))
	}
	send := func(up bool, p []byte) {
		if up {
			ends[1].Write(p)
		} else {
			ends[0].Write(p)
		}
	}
	var tasks sync.WaitGroup
	for i, from := range ends {
		tasks.Go(func() {
			for {
				p := make([]byte, 2048)
				n, err := from.Read(p)
				if err != nil {
					return
				}
				b(i == 0, p[:n], send)
			}
		})
	}
	c.t.Cleanup(func() {
		for _, f := range ends {
			f.Close()
		}
		tasks.Wait()
	})
}

// openTUN makes a TUN device in the namespace of this thread, whose packets have no header of
// its own.
func openTUN(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	req, err := unix.NewIfreq(name)
	if err == nil {
		req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// shuffled doubles some packets and lets others overtake, as radio links and balanced ones do.
func shuffled(seed uint64) box {
	var mu sync.Mutex
	rng := rand.New(rand.NewPCG(seed, 1))
	return func(up bool, p []byte, send func(bool, []byte)) {
		mu.Lock()
		fate := rng.IntN(100)
		mu.Unlock()
		switch {
		case fate < 10:
			time.AfterFunc(3*time.Millisecond, func() { send(up, p) })
		case fate < 15:
			send(up, p)
			time.AfterFunc(5*time.Millisecond, func() { send(up, p) })
		case fate < 20:
			send(up, p)
			send(up, p)
		default:
			send(up, p)
		}
	}
}

// On a way that doubles packets and lets them overtake, a path works as it would without: TCP
// has them in order, and nothing stalls for long.
func TestSegmentsComeTwiceAndOutOfOrder(t *testing.T) {
	c := newCountry(t)
	c.router(1, 1500, "w1")
	c.through(1, shuffled(1))
	client, server := c.keys("", onePath)
	c.start("srv", "server", "server", server)
	c.echo("srv")
	c.client = c.start("cli", "client", "client", client)
	c.works(30*time.Second, far)
	least := time.Minute
	for i := 0; i < 3 && least > time.Second; i++ { // the machine has much else to do
		f := c.flow(far)
		time.Sleep(1500 * time.Millisecond)
		gap := f.longest(t)
		t.Logf("a gap of %v", gap)
		least = min(least, gap)
	}
	if least > time.Second {
		t.Error("that is too long")
	}
	c.until(20*time.Second, "the path is up", func() bool { return c.path("dsl").State == status.Up })
}

// On a path that works, packets of more than 1,280 bytes get lost from now on, and nothing
// says so: what has large ones goes on soon.
func TestLargePacketsBecomeLost(t *testing.T) {
	soonest(t, 1800*time.Millisecond, func(t *testing.T) time.Duration { return shrinks(t, 1280) })
}

// shrinks has the packets of a path become smaller beside a flow of large datagrams, and returns
// its longest gap.
func shrinks(t *testing.T, mtu int) time.Duration {
	c := newCountry(t)
	c.router(1, 1500, "w1")
	most := make(chan int, 1)
	most <- 1500
	c.through(1, func(up bool, p []byte, send func(bool, []byte)) {
		m := <-most
		most <- m
		if len(p) <= m {
			send(up, p)
		}
	})
	client, server := c.keys("", onePath)
	c.start("srv", "server", "server", server)
	c.echo("srv")
	c.client = c.start("cli", "client", "client", client)
	c.works(30*time.Second, far)
	f := c.flowOf(far, 1440)
	time.Sleep(500 * time.Millisecond)
	<-most
	most <- mtu
	time.Sleep(3500 * time.Millisecond)
	gap := f.longest(t)
	t.Logf("a gap of %v", gap)
	return gap
}

// A path with round trips of six seconds, as by a satellite behind a full queue, is used.
func TestFarPath(t *testing.T) {
	t.Parallel()
	const way = 3 * time.Second
	c := newCountry(t)
	c.router(1, 1500, "w1")
	type packet struct {
		at   time.Time
		up   bool
		data []byte
		send func(bool, []byte)
	}
	ways := [2]chan packet{make(chan packet, 4096), make(chan packet, 4096)}
	for _, w := range ways {
		go func() {
			for p := range w {
				time.Sleep(time.Until(p.at))
				p.send(p.up, p.data)
			}
		}()
		t.Cleanup(func() { close(w) })
	}
	c.through(1, func(up bool, p []byte, send func(bool, []byte)) {
		w := ways[0]
		if up {
			w = ways[1]
		}
		w <- packet{time.Now().Add(way), up, p, send}
	})
	client, server := c.keys("", onePath)
	c.start("srv", "server", "server", server)
	c.echo("srv")
	c.client = c.start("cli", "client", "client", client)
	t.Logf("up after %v", c.until(time.Minute, "the path is up", func() bool { return c.path("dsl").State == status.Up }))
	if err := c.associate(far, func(send func() error, receive func(time.Duration) error) error {
		if err := send(); err != nil {
			return err
		}
		begin := time.Now()
		err := receive(30 * time.Second)
		t.Logf("an answer after %v", time.Since(begin))
		return err
	}); err != nil {
		t.Error(err)
	}
}

// The one path, by the default route, is led into a VPN that is dead: status says by what
// nobody answers, and the path is back with the route.
func TestDefaultRouteLeadsIntoDeadVPN(t *testing.T) {
	c := newCountry(t)
	c.router(1, 1500, "w1")
	client, server := c.keys("", "")
	c.start("srv", "server", "server", server)
	c.echo("srv")
	c.client = c.start("cli", "client", "client", client)
	c.works(30*time.Second, far)
	var vpn *os.File
	c.within("cli", func() (err error) {
		vpn, err = openTUN("vpn0")
		return err
	})
	t.Cleanup(func() { vpn.Close() })
	c.ip("cli", "addr add 10.200.0.2/24 dev vpn0")
	c.ip("cli", "link set vpn0 up")
	c.ip("cli", "route add 0.0.0.0/1 dev vpn0")
	var p status.Path // of one look: what is said changes with each attempt
	c.until(15*time.Second, "status says what is silent", func() bool {
		p = c.path("default")
		return p.Cause == "no answer by vpn0"
	})
	if !strings.Contains(p.Remedy, "VPN") {
		t.Errorf("the remedy is %q", p.Remedy)
	}
	c.ip("cli", "link set vpn0 down")
	t.Logf("works %v after its end", c.works(20*time.Second, far))
}
