package client

import (
	"io"
	"net"
	"net/netip"
	"testing"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/mux"
	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/packet"
	"github.com/mpsocks/mpsocks/mux/udpio"
)

// sink is a tunnel that takes everything and answers nothing.
type sink struct {
	fakeTunnel
	n int
}

func (s *sink) Send(_ *mux.Source, pkts []*buf.Buffer) {
	s.n += len(pkts)
	for _, b := range pkts {
		b.Release()
	}
}
func (s *sink) Flush()    {}
func (s *sink) Far() bool { return false }

const batchLen = 32

// uplinkBatch returns a function that gives an association a batch of
// datagrams, which go to the given destinations in turn.
func uplinkBatch(t testing.TB, size int, to ...string) (run func(), sent *int) {
	s := new(sink)
	a := bare(t, s)
	var wire [][]byte
	for _, d := range to {
		wire = append(wire, datagram(0, d, make([]byte, size)))
	}
	msgs := make([]udpio.Message, batchLen)
	return func() {
		for i := range msgs {
			d := wire[i%len(wire)]
			b := buf.Get(len(d))
			copy(b.Bytes(), d)
			msgs[i] = udpio.Message{Buf: b, Addr: netip.AddrPortFrom(a.app, 4000), TOS: 2}
		}
		a.uplink(new(udpio.Conn), msgs)
		for i := range msgs {
			if msgs[i].Buf != nil {
				msgs[i].Buf.Release()
			}
		}
	}, &s.n
}

func TestUplinkDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes pools forget")
	}
	for _, to := range [][]string{
		{"192.0.2.1:7"},
		{"[2001:db8::1]:7"},
		{"192.0.2.1:7", "192.0.2.2:7", "[2001:db8::1]:7", "192.0.2.1:8", "192.0.2.3:7"},
		{"192.0.2.1.:7", "192.0.2.2.:7"}, // names that need no question
	} {
		run, sent := uplinkBatch(t, 100, to...)
		if n := testing.AllocsPerRun(200, run); n != 0 {
			t.Errorf("%v: %v allocations per batch", to, n)
		}
		if *sent == 0 || *sent%batchLen != 0 {
			t.Errorf("%v: %d sent", to, *sent)
		}
	}
}

// downlinkBatch returns a function that delivers a batch of packets to an
// association with a real relay socket, whose application does not read.
func downlinkBatch(t testing.TB, size int) (run func(), a *association) {
	a = bare(t, new(sink))
	l, err := udpio.NewLoop(zerolog.Nop(), nil)
	if err != nil {
		t.Fatal(err)
	}
	a.relay, err = l.Listen(netip.MustParseAddrPort("127.0.0.1:0"), udpio.Options{Offload: true}, func(*udpio.Conn, []udpio.Message) {})
	if err != nil {
		t.Fatal(err)
	}
	app := newApp(t, "127.0.0.1", a.relay.LocalAddr())
	addr := netip.MustParseAddrPort(app.LocalAddr().String())
	a.port.at.Store(&addr)
	t.Cleanup(func() {
		a.relay.Close()
		a.client.loops = []*loop{{Loop: l}}
		a.client.stop = func() {}
		a.client.life = cancelled()
		a.client.discard()
	})
	pkt := respond(packet.UDP{
		Src: a.innerPort.source(netip.IPv4Unspecified()), Dst: netip.MustParseAddrPort("192.0.2.1:7"), TTL: 64,
	}, make([]byte, size))
	pkts, space := make([][]byte, batchLen), make([]byte, batchLen*len(pkt))
	return func() {
		for i := range pkts {
			pkts[i] = space[i*len(pkt) : (i+1)*len(pkt)]
			copy(pkts[i], pkt)
		}
		a.client.downlink.Deliver(pkts)
	}, a
}

func TestDownlinkDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes pools forget")
	}
	run, a := downlinkBatch(t, 100)
	if n := testing.AllocsPerRun(200, run); n != 0 {
		t.Errorf("%v allocations per batch", n)
	}
	if a.client.downlink.received.Load() == 0 {
		t.Errorf("nothing was sent: %v", a.client.drops.snapshot())
	}
}

func BenchmarkUplink(b *testing.B) {
	run, _ := uplinkBatch(b, 1200, "192.0.2.1:7")
	b.ReportAllocs()
	for b.Loop() {
		run()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/batchLen, "ns/datagram")
}

func BenchmarkDownlink(b *testing.B) {
	run, _ := downlinkBatch(b, 1200)
	b.ReportAllocs()
	for b.Loop() {
		run()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/batchLen, "ns/datagram")
}

// BenchmarkAssociate sets associations up and tears them down, as fast as
// eight applications at once can ask.
func BenchmarkAssociate(b *testing.B) {
	c := start(b, &fakeTunnel{}, nil)
	in := []byte("\x05\x01\x00\x05\x03\x00\x01\x00\x00\x00\x00\x00\x00")
	addr := c.Addrs()[0].String()
	b.SetParallelism(8)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		out := make([]byte, 12)
		for pb.Next() {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				b.Error(err)
				return
			}
			conn.Write(in)
			if _, err := io.ReadFull(conn, out); err != nil || out[3] != 0 {
				b.Errorf("% x, %v", out, err)
			}
			conn.(*net.TCPConn).SetLinger(0)
			conn.Close()
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "associations/s")
}
