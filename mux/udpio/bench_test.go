package udpio

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
)

const benchPayload = 1200

// BenchmarkSend is the cost of one datagram from Add to the receiving
// socket's queue, in batches of 32 to one peer.
func BenchmarkSend(b *testing.B) {
	for _, bb := range []struct {
		name                string
		offload, connected  bool
		tos                 uint8
		run                 int // datagrams per Flush
		grow                int // each datagram shorter by this, so that GSO finds no runs
		receiverTakesTrains bool
	}{
		{name: "single", run: 1},
		{name: "single/connected", connected: true, run: 1},
		{name: "batch", run: 32},
		{name: "batch/connected", connected: true, run: 32},
		{name: "batch/tos", tos: 2, run: 32},
		{name: "gso", offload: true, run: 32},
		{name: "gso/connected", offload: true, connected: true, run: 32},
		{name: "gso/gro", offload: true, run: 32, receiverTakesTrains: true},
		{name: "gso/norun", offload: true, run: 32, grow: 1},
	} {
		b.Run(bb.name, func(b *testing.B) {
			l := startLoop(b, nil)
			to := listen(b, l, any4, Options{Offload: bb.receiverTakesTrains, RecvBuffer: 1 << 12}, func(*Conn, []Message) {})
			from := listen(b, l, any4, Options{Offload: bb.offload}, func(*Conn, []Message) {})
			dst := to.LocalAddr()
			if bb.connected {
				from.Connect(dst)
				dst = netip.AddrPort{}
			}
			w := NewWriter()
			p := make([]byte, benchPayload)
			b.ReportAllocs()
			cpu := processTime()
			for n := 0; n < b.N; n += bb.run {
				for i := range bb.run {
					w.Add(from, dst, bb.tos, p[:benchPayload-i*bb.grow])
				}
				w.Flush()
			}
			b.ReportMetric(float64(processTime()-cpu)/float64(b.N), "cpu-ns/op")
		})
	}
	b.Run("net.UDPConn", func(b *testing.B) {
		to, from := plain(b, any4), plain(b, any4)
		to.SetReadBuffer(1 << 12)
		dst := addrOf(to)
		p := make([]byte, benchPayload)
		b.ReportAllocs()
		cpu, n := processTime(), 0
		for b.Loop() {
			from.WriteToUDPAddrPort(p, dst)
			n++
		}
		b.ReportMetric(float64(processTime()-cpu)/float64(n), "cpu-ns/op")
	})
}

// BenchmarkEcho sends windows of datagrams to an echo and waits for them to
// come back; an operation is one datagram there and back, all four ends on
// this machine.
func BenchmarkEcho(b *testing.B) {
	const window = 64
	for _, offload := range []bool{false, true} {
		for _, sockets := range []int{1, 16} {
			b.Run(fmt.Sprintf("loop/offload=%v/sockets=%d", offload, sockets), func(b *testing.B) {
				w := NewWriter()
				echo := startLoop(b, nil)
				opt := Options{Offload: offload, RecvBuffer: 1 << 22}
				h := func(c *Conn, msgs []Message) {
					for i := range msgs {
						w.Add(c, msgs[i].Addr, msgs[i].TOS, msgs[i].Buf.Bytes())
					}
					w.Flush()
				}
				var back int
				full := make(chan struct{}, 1) // one window at a time
				load := startLoop(b, func() {
					if back >= window {
						back -= window
						full <- struct{}{}
					}
				})
				var from, to []*Conn
				for range sockets {
					to = append(to, listen(b, echo, any4, opt, h))
					from = append(from, listen(b, load, any4, opt, func(_ *Conn, msgs []Message) { back += len(msgs) }))
				}
				lw := NewWriter()
				p := make([]byte, benchPayload)
				b.ReportAllocs()
				b.ResetTimer()
				cpu := processTime()
				for n := 0; n < b.N; n += window {
					for i := range window {
						s := i % sockets
						lw.Add(from[s], to[s].LocalAddr(), 0, p)
					}
					lw.Flush()
					<-full
				}
				b.ReportMetric(float64(processTime()-cpu)/float64(b.N), "cpu-ns/op")
				b.ReportMetric(float64(echo.Stats().Datagrams)/float64(max(1, echo.Stats().Calls)), "batch")
			})
		}
	}
	for _, sockets := range []int{1, 16} {
		b.Run(fmt.Sprintf("net.UDPConn/sockets=%d", sockets), func(b *testing.B) {
			var from, to []*net.UDPConn
			for range sockets {
				e := plain(b, any4)
				go func() {
					buf := make([]byte, 65536)
					for {
						n, a, err := e.ReadFromUDPAddrPort(buf)
						if err != nil {
							return
						}
						e.WriteToUDPAddrPort(buf[:n], a)
					}
				}()
				to = append(to, e)
			}
			back := make(chan struct{}, window)
			for range sockets {
				f := plain(b, any4)
				go func() {
					buf := make([]byte, 65536)
					for {
						if _, _, err := f.ReadFromUDPAddrPort(buf); err != nil {
							return
						}
						back <- struct{}{}
					}
				}()
				from = append(from, f)
			}
			p := make([]byte, benchPayload)
			b.ReportAllocs()
			b.ResetTimer()
			cpu := processTime()
			for n := 0; n < b.N; n += window {
				for i := range window {
					s := i % sockets
					from[s].WriteToUDPAddrPort(p, addrOf(to[s]))
				}
				for range window {
					<-back
				}
			}
			b.ReportMetric(float64(processTime()-cpu)/float64(b.N), "cpu-ns/op")
		})
	}
}

// BenchmarkPing is the round trip of one datagram at a time.
func BenchmarkPing(b *testing.B) {
	b.Run("loop", func(b *testing.B) {
		w := NewWriter()
		l := startLoop(b, nil)
		c := listen(b, l, any4, Options{Offload: true}, func(c *Conn, msgs []Message) {
			for i := range msgs {
				w.Add(c, msgs[i].Addr, msgs[i].TOS, msgs[i].Buf.Bytes())
			}
			w.Flush()
		})
		ping(b, c.LocalAddr())
	})
	b.Run("net.UDPConn", func(b *testing.B) {
		e := plain(b, any4)
		go func() {
			buf := make([]byte, 65536)
			for {
				n, a, err := e.ReadFromUDPAddrPort(buf)
				if err != nil {
					return
				}
				e.WriteToUDPAddrPort(buf[:n], a)
			}
		}()
		ping(b, addrOf(e))
	})
}

func ping(b *testing.B, dst netip.AddrPort) {
	u := plain(b, any4)
	buf := make([]byte, 2048)
	p := make([]byte, 64)
	cpu := processTime()
	n := 0
	for b.Loop() {
		u.WriteToUDPAddrPort(p, dst)
		u.ReadFromUDPAddrPort(buf)
		n++
	}
	b.ReportMetric(float64(processTime()-cpu)/float64(n), "cpu-ns/op")
}

// BenchmarkListenClose is the life of a socket that carries nothing.
func BenchmarkListenClose(b *testing.B) {
	l := startLoop(b, nil)
	h := func(*Conn, []Message) {}
	b.ReportAllocs()
	cpu, n := processTime(), 0
	for b.Loop() {
		n++
		c, err := l.Listen(any4, Options{Offload: true, TOS: true}, h)
		if err != nil {
			b.Fatal(err)
		}
		c.Close()
	}
	b.ReportMetric(float64(processTime()-cpu)/float64(n), "cpu-ns/op")
}
