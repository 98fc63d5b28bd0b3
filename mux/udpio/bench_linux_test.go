//go:build linux && !mpsocks_portable

package udpio

import (
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

func processTime() time.Duration {
	var ts unix.Timespec
	unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts)
	return time.Duration(ts.Nano())
}

// idle makes a Loop whose rounds the caller drives.
func idle(t testing.TB, after func()) *Loop {
	l, err := NewLoop(zerolog.Nop(), after)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.close)
	return l
}

func drain(l *Loop) {
	for l.round() {
	}
}

// BenchmarkReceive is the cost of one datagram from the socket's queue to the
// Handler; sending is not timed.
func BenchmarkReceive(b *testing.B) {
	for _, bb := range []struct {
		name    string
		batch   int
		offload bool
		tos     bool
	}{
		{"single", 1, false, false},
		{"batch", 32, false, false},
		{"batch/tos", 32, false, true},
		{"gro", 32, true, false},
	} {
		b.Run(bb.name, func(b *testing.B) {
			got := 0
			l := idle(b, nil)
			to := listen(b, l, any4, Options{Offload: bb.offload, TOS: bb.tos, RecvBuffer: 1 << 22}, func(_ *Conn, msgs []Message) { got += len(msgs) })
			from := listen(b, l, any4, Options{Offload: bb.offload}, func(*Conn, []Message) {})
			w := NewWriter()
			p := make([]byte, benchPayload)
			const block = 512
			var spent time.Duration
			b.ReportAllocs()
			for n := 0; n < b.N; n += block {
				// One timer reading per block of sends, not per batch: the
				// reading costs as much as a datagram.
				if bb.batch == 1 {
					for range 64 {
						w.Add(from, to.LocalAddr(), 0, p)
						w.Flush()
						start := processTime()
						drain(l)
						spent += processTime() - start
					}
					continue
				}
				for range block {
					w.Add(from, to.LocalAddr(), 0, p)
				}
				w.Flush()
				start := processTime()
				drain(l)
				spent += processTime() - start
			}
			b.ReportMetric(float64(spent)/float64(got), "ns/datagram")
			b.ReportMetric(float64(got)/float64(l.Stats().Calls), "batch")
		})
	}
}

// BenchmarkSockets reads one datagram from each of many sockets: the cost per
// datagram must not grow with their number. Up to 128 sockets have something
// to read at a time, as when datagrams come in all the time; with "/all" it is
// all of them, so that no socket is in any cache when its turn comes.
func BenchmarkSockets(b *testing.B) {
	for _, bb := range []struct {
		name           string
		sockets, block int
	}{
		{"16", 16, 16},
		{"128", 128, 128},
		{"1000", 1000, 128},
		{"10000", 10000, 128},
		{"10000/all", 10000, 10000},
	} {
		b.Run(bb.name, func(b *testing.B) {
			got := 0
			l := idle(b, nil)
			to := make([]*Conn, bb.sockets)
			for i := range to {
				to[i] = listen(b, l, any4, Options{Offload: true, TOS: true}, func(_ *Conn, msgs []Message) { got += len(msgs) })
			}
			from := listen(b, l, any4, Options{}, func(*Conn, []Message) {})
			w := NewWriter()
			p := make([]byte, benchPayload)
			var spent, sending time.Duration
			b.ResetTimer()
			at := 0
			for n := 0; n < b.N; n += bb.block {
				start := processTime()
				for range bb.block {
					w.Add(from, to[at].LocalAddr(), 0, p)
					if at++; at == len(to) {
						at = 0
					}
				}
				w.Flush()
				mid := processTime()
				drain(l)
				spent += processTime() - mid
				sending += mid - start
			}
			b.ReportMetric(float64(spent)/float64(got), "recv-ns/datagram")
			b.ReportMetric(float64(sending)/float64(got), "send-ns/datagram")
		})
	}
}
