package e2e

import (
	"encoding/binary"
	"math/rand/v2"
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
	const pairs = 1500
	got := numbered(t, p, 2*pairs, 200, func(i int) time.Duration {
		if i%2 == 0 {
			return time.Duration(rand.Int64N(int64(2 * time.Millisecond)))
		}
		return 2 * time.Millisecond
	})
	if len(got) != 2*pairs {
		t.Errorf("%d of %d came back", len(got), 2*pairs)
	}
	if n := swapped(got); float64(n) > 0.005*pairs {
		t.Errorf("%d of %d pairs came in the wrong order, more than 0.5 %%", n, pairs)
	}
}

// A large flow that is no QUIC arrives in order too: 10 Mbit/s of 1,316-byte
// datagrams, as RTP and SRT send.
func TestLargeFlowKeepsItsOrder(t *testing.T) {
	p := begin(t, halves.Config{Paths: sixes})
	const count = 4000
	got := numbered(t, p, count, 1316, func(i int) time.Duration {
		if i%10 != 9 { // a frame's worth at once
			return 0
		}
		return 10 * time.Millisecond
	})
	if len(got) != count {
		t.Errorf("%d of %d came back", len(got), count)
	}
	if n := swapped(got); n > 0 {
		t.Errorf("%d of %d datagrams came behind a later one", n, count)
	}
}
