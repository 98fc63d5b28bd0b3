package e2e

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/integration/bench/halves"
	"github.com/mpsocks/mpsocks/integration/bench/socks"
)

// sixes is two paths as `auto` makes them.
var sixes = []halves.Path{{Name: "one", Bind: "127.0.0.1", Subflows: 6}, {Name: "two", Bind: "127.0.0.2", Subflows: 6}}

// swapped counts how many of the numbers came behind a higher one.
func swapped(numbers []uint64) (n int) {
	most := uint64(0)
	for _, x := range numbers {
		if x < most {
			n++
		}
		most = max(most, x)
	}
	return n
}

// numbered sends count datagrams of a size, each after the pause that next says,
// has them echoed, and returns their numbers in order of arrival.
func numbered(t *testing.T, p *halves.Pair, count, size int, next func(i int) time.Duration) []uint64 {
	t.Helper()
	echo := udpEcho(t, "127.0.0.1:0")
	f := associate(t, p.Socks[0])
	done := make(chan []uint64, 1)
	go func() {
		var got []uint64
		b := make([]byte, 65536)
		for len(got) < count {
			_ = f.conn.SetReadDeadline(time.Now().Add(3 * time.Second))
			n, err := f.conn.Read(b)
			if err != nil {
				break
			}
			if _, payload, err := socks.ParseDatagram(b[:n]); err == nil && len(payload) >= 8 {
				got = append(got, binary.BigEndian.Uint64(payload))
			}
		}
		done <- got
	}()
	payload := make([]byte, size)
	for i := range count {
		binary.BigEndian.PutUint64(payload, uint64(i))
		f.send(t, echo.String(), payload)
		for until := time.Now().Add(next(i)); time.Now().Before(until); {
			time.Sleep(min(time.Until(until), 100*time.Microsecond))
		}
	}
	return <-done
}

// Datagrams of a small flow that are sent close together arrive in order: pairs
// 0 to 2 ms apart, on an idle tunnel of two paths with six subflows each.
func TestPairsKeepTheirOrder(t *testing.T) {
	p := begin(t, halves.Config{Paths: sixes})
	inOrder(t, func(t *testing.T) string {
		const pairs = 1500
		got := numbered(t, p, 2*pairs, 200, func(i int) time.Duration {
			if i%2 == 0 {
				return time.Duration(rand.Int64N(int64(2 * time.Millisecond)))
			}
			return 2 * time.Millisecond
		})
		if n := swapped(got); len(got) != 2*pairs || float64(n) > 0.005*pairs {
			return fmt.Sprintf("%d of %d came back, %d of %d pairs in the wrong order: more than 0.5 %%", len(got), 2*pairs, n, pairs)
		}
		return ""
	})
}

// mediaPause is that of 10 Mbit/s in frames of ten datagrams of 1,316 bytes, as RTP and
// SRT send.
func mediaPause(i int) time.Duration {
	if i%10 != 9 {
		return 0
	}
	return 10 * time.Millisecond
}

// inOrder wants a measurement without a fault. On a machine that is busy with something
// else a datagram can be late by more than any wait for it, so there are three attempts;
// faults that no machine excuses have tests in mux.
func inOrder(t *testing.T, measure func(t *testing.T) (fault string)) {
	t.Helper()
	fault := ""
	for range 3 {
		if fault = measure(t); fault == "" {
			return
		}
		t.Log(fault)
	}
	t.Error(fault)
}

// orderFault says what is wrong with numbers that should be all and in order.
func orderFault(what string, got []uint64, count int) string {
	if n := swapped(got); len(got) != count || n > 0 {
		return fmt.Sprintf("%s: %d of %d came, %d behind a later one", what, len(got), count, n)
	}
	return ""
}

// A large flow that is no QUIC arrives in order too.
func TestLargeFlowKeepsItsOrder(t *testing.T) {
	p := begin(t, halves.Config{Paths: sixes})
	inOrder(t, func(t *testing.T) string {
		const count = 4000
		return orderFault("echoed", numbered(t, p, count, 1316, mediaPause), count)
	})
}

// So does one that a forward carries, to the world and back.
func TestForwardedMediaKeepsItsOrder(t *testing.T) {
	world, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer world.Close()
	_ = world.SetReadBuffer(4 << 20)
	at := ports(t, 1)[0]
	begin(t, halves.Config{Paths: sixes, Client: fmt.Sprintf("forwards: [{listen: %q, to: %q}]\n", at, world.LocalAddr())})
	inOrder(t, func(t *testing.T) string { return media(t, world, at) })
}

// media sends 4,000 datagrams to a world that echoes, and says what is wrong with the
// order on either way.
func media(t *testing.T, world *net.UDPConn, to netip.AddrPort) string {
	const count = 4000
	c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetReadBuffer(4 << 20)
	there, back := make(chan []uint64, 1), make(chan []uint64, 1)
	// Both end by their deadlines at the latest.
	go func() {
		there <- collect(world, count, func(b []byte, from *net.UDPAddr) { _, _ = world.WriteToUDP(b, from) })
	}()
	go func() { back <- collect(c, count, func([]byte, *net.UDPAddr) {}) }()
	payload := make([]byte, 1316)
	for i := range count {
		binary.BigEndian.PutUint64(payload, uint64(i))
		if _, err := c.Write(payload); err != nil {
			t.Fatal(err)
		}
		time.Sleep(mediaPause(i))
	}
	one, two := orderFault("there", <-there, count), orderFault("back", <-back, count)
	if one == "" {
		return two
	}
	return one
}

// collect returns the numbers of datagrams in order of arrival, until all are there or
// nothing comes for long.
func collect(c *net.UDPConn, count int, each func(b []byte, from *net.UDPAddr)) (got []uint64) {
	b := make([]byte, 65536)
	for len(got) < count {
		_ = c.SetReadDeadline(time.Now().Add(3 * time.Second))
		n, from, err := c.ReadFromUDP(b)
		if err != nil {
			return got
		}
		got = append(got, binary.BigEndian.Uint64(b[:n]))
		each(b[:n], from)
	}
	return got
}
