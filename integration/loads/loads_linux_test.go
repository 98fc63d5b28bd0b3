package loads

import (
	"context"
	"io"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	runtime.GOMAXPROCS(8) // see netlab.Realtime
	goleak.VerifyTestMain(m)
}

var loopback = netip.MustParseAddr("127.0.0.1")

// serveSocks is a SOCKS5 proxy of one page: CONNECT, and UDP ASSOCIATE with one destination; it drops datagram number
// 10 and sends number 20 twice. It ends with the listener.
func serveSocks(t *testing.T) netip.AddrPort {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serveClient(c)
		}
	}()
	return netip.MustParseAddrPort(l.Addr().String())
}

func serveClient(c net.Conn) {
	defer c.Close()
	b := make([]byte, 512)
	io.ReadFull(c, b[:3])
	c.Write([]byte{5, 0})
	io.ReadFull(c, b[:10])
	a, _ := netip.AddrFromSlice(b[4:8])
	to := netip.AddrPortFrom(a, uint16(b[8])<<8|uint16(b[9]))
	if b[1] == commandConnect {
		out, err := net.Dial("tcp", to.String())
		if err != nil {
			return
		}
		defer out.Close()
		c.Write(appendAddr([]byte{5, 0, 0}, to))
		go func() { io.Copy(out, c); out.Close() }()
		io.Copy(c, out)
		return
	}
	in, _ := net.ListenUDP("udp4", &net.UDPAddr{IP: loopback.AsSlice()})
	out, _ := net.ListenUDP("udp4", &net.UDPAddr{IP: loopback.AsSlice()})
	in.SetReadBuffer(4 << 20)
	out.SetReadBuffer(4 << 20)
	defer out.Close()
	defer in.Close()
	c.Write(appendAddr([]byte{5, 0, 0}, netip.MustParseAddrPort(in.LocalAddr().String())))
	client := make(chan netip.AddrPort, 1)
	go func() {
		b := make([]byte, 2048)
		for i := 0; ; i++ {
			n, from, err := in.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			select {
			case client <- from:
			default:
			}
			a, _ := netip.AddrFromSlice(b[4:8])
			if i == 10 {
				continue
			}
			dst := netip.AddrPortFrom(a, uint16(b[8])<<8|uint16(b[9]))
			out.WriteToUDPAddrPort(b[10:n], dst)
			if i == 20 {
				out.WriteToUDPAddrPort(b[10:n], dst)
			}
		}
	}()
	go func() {
		b := make([]byte, 2048)
		var back netip.AddrPort
		for {
			n, from, err := out.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			if !back.IsValid() {
				back = <-client
			}
			in.WriteToUDPAddrPort(append(datagramHeader(from), b[:n]...), back)
		}
	}()
	io.Copy(io.Discard, c)
}

func newWorld(t *testing.T) *World {
	t.Helper()
	w, err := NewWorld(Here{}, loopback)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

func TestDatagrams(t *testing.T) {
	w := newWorld(t)
	proxy := serveSocks(t)
	for name, c := range map[string]struct {
		route      Route
		direction  Direction
		lost, dups int
	}{
		"echo":             {Route{Place: Here{}}, Echo, 0, 0},
		"up":               {Route{Place: Here{}, Source: loopback}, Up, 0, 0},
		"down":             {Route{Place: Here{}}, Down, 0, 0},
		"echo, by a proxy": {Route{Place: Here{}, Proxy: proxy}, Echo, 1, 1},
		"up, by a proxy":   {Route{Place: Here{}, Proxy: proxy}, Up, 1, 1},
		"down, by a proxy": {Route{Place: Here{}, Proxy: proxy}, Down, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := w.Datagrams(t.Context(), c.route, Datagrams{Name: name, Rate: 1000, Size: 200, Direction: c.direction, Duration: 500 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			if r.Sent != 500 || r.Lost != c.lost || r.Duplicates != c.dups || r.Corrupt != 0 || r.Received != 500-c.lost {
				t.Errorf("%+v", r)
			}
			if p := r.Latency(); p.Count != r.Received || p.Min <= 0 || p.P50 > 100 {
				t.Errorf("latency %+v", p)
			}
			if c.direction == Echo && (r.Up.Count == 0 || r.Down.Count == 0 || r.Up.Min+r.Down.Min > r.RTT.Max) {
				t.Errorf("one way %+v, %+v", r.Up, r.Down)
			}
		})
	}
}

func TestDatagramsAreSentAtTheirRate(t *testing.T) {
	w := newWorld(t)
	r, err := w.Datagrams(t.Context(), Route{Place: Here{}}, Datagrams{Name: "fast", Size: 1200, Direction: Up, Duration: time.Second, Warmup: 200 * time.Millisecond}.Mbit(100))
	if err != nil {
		t.Fatal(err)
	}
	if r.Offered < 95 || r.Offered > 105 || r.Goodput < 95 || r.Goodput > 105 {
		t.Errorf("offered %.1f Mbit/s, arrived %.1f, want 100", r.Offered, r.Goodput)
	}
}

func TestStreams(t *testing.T) {
	w := newWorld(t)
	proxy := serveSocks(t)
	for _, route := range []Route{{Place: Here{}}, {Place: Here{}, Proxy: proxy}} {
		for _, direction := range []Direction{Up, Down} {
			r, err := w.Streams(t.Context(), route, Streams{Name: "bulk", Direction: direction, Congestion: "cubic", Warmup: 100 * time.Millisecond, Duration: 400 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			if r.Goodput < 50 || r.Bytes < 1e6 {
				t.Errorf("%s by %v: %+v", direction, route.Proxy, r)
			}
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	w.tcp.Close()
	if _, err := w.Streams(ctx, Route{Place: Here{}}, Streams{Direction: Up, Duration: time.Second}); err == nil {
		t.Error("a transfer to nobody succeeded")
	}
}
