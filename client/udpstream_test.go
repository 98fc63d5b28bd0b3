package client

import (
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/client/admission"
	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// uotConnect is a CONNECT to one of the names of UDP over TCP.
func uotConnect(host string) []byte {
	return append(append([]byte{5, 1, 0, 5, 1, 0, 3, byte(len(host))}, host...), 0, 0)
}

func counted(payload string) string { return "\x00" + string(rune(len(payload))) + payload }

// TestUDPOverTCP speaks every form, byte for byte as sing-box and hev do, and
// wants the answers in the same form.
func TestUDPOverTCP(t *testing.T) {
	const (
		v4   = "\xc0\x00\x02\x01\x00\x07"                                                 // 192.0.2.1:7
		v6   = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x07" // [2001:db8::1]:7
		name = "\x09four.test\x00\x07"
	)
	z := &zone{ttl: 300, addrs: map[string][]string{"four.test": {"192.0.2.1"}}}
	hev := []byte{5, 1, 0, 5, cmdHev, 0, 1, 0, 0, 0, 0, 0, 0}
	gost := []byte{5, 3, 0, 2, 0x80, 5, cmdGost, 0, 1, 0, 0, 0, 0, 0, 0} // which offers TLS, too
	for _, tt := range []struct {
		name     string
		open     []byte
		in, want string
	}{
		{"one destination", uotConnect(uotHost), "\x01\x01" + v4 + counted("a") + counted("") + counted("bc"), counted("a") + counted("") + counted("bc")},
		{"one name", uotConnect("SP.v2.udp-over-TCP.arpa"), "\x01\x03" + name + counted("a") + counted("bc"), counted("a") + counted("bc")},
		{
			"datagrams", uotConnect(uotHost), "\x00\x01\x00\x00\x00\x00\x00\x00" + "\x00" + v4 + counted("a") + "\x01" + v6 + counted("bc"),
			"\x00" + v4 + counted("a") + "\x01" + v6 + counted("bc"),
		},
		{"datagrams to a name", uotConnect(uotHost), "\x00\x03" + name + "\x02" + name + counted("a"), "\x00" + v4 + counted("a")},
		{"version 1", uotConnect(uotLegacyHost), "\x00" + v4 + counted("a") + "\x02" + name + counted("b"), "\x00" + v4 + counted("a") + "\x00" + v4 + counted("b")},
		{
			"hev", hev, "\x00\x01\x0a\x01" + v4 + "a" + "\x00\x00\x16\x04" + v6 + "\x00\x02\x10\x03" + name + "bc",
			"\x00\x01\x0a\x01" + v4 + "a" + "\x00\x00\x16\x04" + v6 + "\x00\x02\x0a\x01" + v4 + "bc",
		},
		{ // whose frames without a payload have no end, so that none comes back
			"gost", gost, "\x00\x01\xff\x01" + v4 + "a" + "\x00\x00\xff\x04" + v6 + "\x00\x02\x00\x03" + name + "bc" + "\x00\x01\xff\x04" + v6 + "d",
			"\x00\x01\xff\x01" + v4 + "a" + "\x00\x02\xff\x01" + v4 + "bc" + "\x00\x01\xff\x04" + v6 + "d",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := start(t, &fakeTunnel{answer: z.answer}, nil)
			// At once, and byte by byte after the reply.
			conn := dial(t, c)
			all := talk(t, conn, append(tt.open, tt.in...), 12+len(tt.want))
			if all[3] != 0 || string(all[12:]) != tt.want {
				t.Errorf("%q, want %q", all[12:], tt.want)
			}
			slow := dial(t, c)
			talk(t, slow, tt.open, 12)
			for i := range len(tt.in) {
				slow.Write([]byte{tt.in[i]})
			}
			got := make([]byte, len(tt.want))
			if _, err := io.ReadFull(slow, got); err != nil || string(got) != tt.want {
				t.Errorf("%q, %v, want %q", got, err, tt.want)
			}
			if n := c.Status().Associations; n != 2 {
				t.Errorf("%d associations", n)
			}
			conn.Close()
			slow.CloseWrite()
			eventually(t, "nothing is left", func() bool { return c.Status().Associations == 0 })
		})
	}
}

// TestUDPOverTCPByAnyDoor asks for the name of UDP over TCP by the protocols that have no
// datagrams of their own, as sing-box does with SOCKS4A.
func TestUDPOverTCPByAnyDoor(t *testing.T) {
	const (
		frames = "\x00\xc0\x00\x02\x01\x00\x07\x00\x01a"
		http   = "HTTP/1.1 200 Connection established\r\n\r\n"
		four   = "\x00\x5a\x00\x00\x00\x00\x00\x00"
		begin  = "\x00\x01\x00\x00\x00\x00\x00\x00"
	)
	for _, tt := range []struct{ name, open, answer, begin string }{
		{"SOCKS4A", string(ask4(1, uotHost+":0", "me")), four, begin},
		{"SOCKS4A, version 1", string(ask4(1, uotLegacyHost+":0", "")), four, ""},
		{"HTTP", "CONNECT " + uotHost + ":0 HTTP/1.1\r\nHost: " + uotHost + "\r\n\r\n", http, begin},
		{"HTTP, version 1", "CONNECT SP.udp-over-tcp.arpa.:443 HTTP/1.1\r\nHost: x\r\n\r\n", http, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := start(t, &fakeTunnel{answer: echo}, nil)
			for range 2 { // at once, and after the answer
				conn := dial(t, c)
				want := tt.answer + frames
				if got := talk(t, conn, []byte(tt.open+tt.begin+frames), len(want)); string(got) != want {
					t.Errorf("%q, want %q", got, want)
				}
				conn.Close()
				conn = dial(t, c)
				talk(t, conn, []byte(tt.open), len(tt.answer))
				if got := talk(t, conn, []byte(tt.begin+frames), len(frames)); string(got) != frames {
					t.Errorf("%q, want %q", got, frames)
				}
				conn.CloseWrite()
				eventually(t, "nothing is left", func() bool { return c.Status().Associations == 0 })
			}
		})
	}
	t.Run("no room", func(t *testing.T) {
		c := start(t, &fakeTunnel{answer: echo}, func(cfg *conf.Client) { cfg.Limits.Associations = 1 })
		associated(t, c, netip.MustParseAddrPort("0.0.0.0:0"))
		for open, want := range map[string]string{
			string(ask4(1, uotHost+":0", "")):                       "\x00\x5b",
			"CONNECT " + uotHost + ":0 HTTP/1.1\r\nHost: x\r\n\r\n": "HTTP/1.1 503 ",
			string(uotConnect(uotHost)):                             "\x05\x00\x05\x01",
			"\x05\x01\x00\x05\xf3\x00\x01\x00\x00\x00\x00\x00\x00":  "\x05\x00\x05\x01",
		} {
			if got := talk(t, dial(t, c), []byte(open), len(want)); string(got) != want {
				t.Errorf("%q: %q, want %q", open, got, want)
			}
		}
	})
}

// TestUDPOverTCPLong carries the longest datagrams, both ways.
func TestUDPOverTCPLong(t *testing.T) {
	c := start(t, &fakeTunnel{answer: echo}, nil)
	conn := dial(t, c)
	talk(t, conn, append(uotConnect(uotHost), "\x01\x01\xc0\x00\x02\x01\x00\x07"...), 12)
	for _, size := range []int{1, 1200, 20000, packet.MaxUDP4Payload} {
		frame := append(binary.BigEndian.AppendUint16(nil, uint16(size)), noise(size)...)
		if got := talk(t, conn, frame, len(frame)); !bytes.Equal(got, frame) {
			t.Errorf("%d bytes differ", size)
		}
	}
	// Longer than a datagram can be: dropped, and the stream goes on.
	conn.Write(append([]byte{0xff, 0xff}, make([]byte, 0xffff)...))
	talk(t, conn, []byte("\x00\x02ok"), 4)
	if n := c.drops[dropSize].Load(); n != 1 {
		t.Errorf("%d dropped for their size", n)
	}
}

// TestUDPOverTCPOnlyTheDestinationAnswers where the application cannot tell.
func TestUDPOverTCPOnlyTheDestinationAnswers(t *testing.T) {
	f := &fakeTunnel{answer: func(h packet.UDP, payload []byte) [][]byte {
		other := h
		other.Dst = netip.MustParseAddrPort("192.0.2.9:7")
		return [][]byte{respond(other, []byte("from elsewhere")), respond(h, payload)}
	}}
	c := start(t, f, nil)
	if got := talk(t, dial(t, c), append(uotConnect(uotHost), "\x01\x01\xc0\x00\x02\x01\x00\x07\x00\x02ok"...), 16); string(got[12:]) != "\x00\x02ok" {
		t.Errorf("%q", got)
	}
}

// TestUDPOverTCPNotRead has an application that does not read: nothing waits for
// it, and what is kept for it is bounded.
func TestUDPOverTCPNotRead(t *testing.T) {
	f := &fakeTunnel{answer: echo}
	c := start(t, f, nil)
	lazy := dial(t, c)
	lazy.SetReadBuffer(4096)
	talk(t, lazy, append(uotConnect(uotHost), "\x01\x01\xc0\x00\x02\x01\x00\x07\x00\x02ok"...), 16)
	h := f.sent()[0]
	pkt := respond(h, make([]byte, 1200))
	for range 20000 {
		c.downlink.Deliver([][]byte{bytes.Clone(pkt)})
	}
	if n := c.drops[dropSend].Load(); n == 0 {
		t.Error("nothing was dropped")
	}
	talk(t, dial(t, c), append(uotConnect(uotHost), "\x01\x01\xc0\x00\x02\x01\x00\x07\x00\x02ok"...), 16)
}

func TestUDPOverTCPMalformed(t *testing.T) {
	c := start(t, &fakeTunnel{answer: echo}, nil)
	for _, in := range []string{
		"\x02\x01\xc0\x00\x02\x01\x00\x07",                     // neither
		"\x00\x02xxxxxxxx",                                     // no such type in a request
		"\x00\x03\x00\x00\x07",                                 // an empty name
		"\x00\x01\xc0\x00\x02\x01\x00\x07\x03\x04four\x00\x07", // no such type in a frame
	} {
		conn := dial(t, c)
		conn.Write(append(uotConnect(uotHost), in...))
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		if all, err := io.ReadAll(conn); len(all) > 12 || err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%q: %q, %v", in, all, err)
		}
	}
	eventually(t, "nothing is left", func() bool { return c.Status().Associations == 0 })
}

// FuzzUDPFrames reads requests and frames: it ends, and reads no more than there is.
func FuzzUDPFrames(f *testing.F) {
	f.Add(byte(0), []byte("\x01\x01\xc0\x00\x02\x01\x00\x07\x00\x02ok"))
	f.Add(byte(1), []byte("\x00\xc0\x00\x02\x01\x00\x07\x00\x02ok"))
	f.Add(byte(2), []byte("\x00\x02\x0a\x01\xc0\x00\x02\x01\x00\x07ok"))
	f.Add(byte(3), []byte("\x00\x02\xff\x01\xc0\x00\x02\x01\x00\x07ok"))
	f.Fuzz(func(t *testing.T, form byte, in []byte) {
		r := bytes.NewReader(in)
		fr := frameReader{r: r, framing: udpFraming(form % 4)}
		if form >= 128 {
			if _, to, err := fr.request(); err == nil && to.host == nil && !to.to.Addr().IsValid() {
				t.Fatal("a request without a destination")
			}
		}
		for {
			before := r.Len()
			to, n, err := fr.next()
			if err != nil {
				return
			}
			if used := before - r.Len(); used > maxFrameHeader || n > 0xffff {
				t.Fatalf("a header of %d bytes, a payload of %d", used, n)
			}
			if fr.framing != framingConnect && to.to.Addr().IsValid() {
				again := fr.framing.append(nil, to.to, make([]byte, n))
				back := frameReader{r: bytes.NewReader(again), framing: fr.framing}
				if to2, n2, err := back.next(); err != nil || to2.to != to.to || n2 != n {
					t.Fatalf("%v, %d, %v; want %v, %d", to2.to, n2, err, to.to, n)
				}
			}
			if _, err := io.CopyN(io.Discard, r, int64(n)); err != nil {
				return
			}
		}
	})
}

// FuzzListener feeds a listener with whatever comes: every protocol of it, with and without
// users. It must answer or close, leave nothing behind, and carry nothing for who has said no
// right password.
func FuzzListener(f *testing.F) {
	const login = "\x05\x01\x02\x01\x03ann\x06secret"
	for _, s := range []string{
		"\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50data",
		"\x05\x01\x00\x05\x03\x00\x01\x00\x00\x00\x00\x00\x00",
		"\x05\x01\x00\x05\x05\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01\x0a\x01\xc0\x00\x02\x01\x00\x07a",
		"\x05\x01\x00\x05\xf3\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01\xff\x01\xc0\x00\x02\x01\x00\x07a",
		"CONNECT " + uotHost + ":0 HTTP/1.1\r\nHost: x\r\n\r\n\x01\x01\xc0\x00\x02\x01\x00\x07\x00\x02ok",
		"\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"\x04\x01\x00\x50\x00\x00\x00\x07me\x00example.com\x00",
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST http://192.0.2.1/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
		login + "\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50data", login + "\x05\x03\x00\x01\x00\x00\x00\x00\x00\x00",
		"GET http://192.0.2.1/ HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic YW5uOnNlY3JldA==\r\n\r\nGET http://192.0.2.2/ HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		f.Add([]byte(s))
		f.Add(append([]byte{0}, s...))
	}
	f.Add(append(uotConnect(uotHost), "\x01\x01\xc0\x00\x02\x01\x00\x07\x00\x02ok"...))
	one := func(carried *atomic.Int64, cfg func(*conf.Client)) (*Client, *fakeTunnel) {
		tunnel := &fakeTunnel{}
		tunnel.answer = func(h packet.UDP, payload []byte) [][]byte {
			carried.Add(1)
			return echo(h, payload)
		}
		tunnel.exit = func(conn net.Conn) {
			carried.Add(1)
			io.ReadFull(conn, make([]byte, 10))
			conn.Write([]byte{5, 0, 5, 5, 0, 1, 0, 0, 0, 0, 0, 0}) // refused
		}
		return start(f, tunnel, cfg), tunnel
	}
	var any, theirs atomic.Int64
	open, behind := one(&any, nil)
	closed, behindClosed := one(&theirs, func(cfg *conf.Client) { cfg.Users = oneUser })
	knew := false // of what was said last: some of it may be carried later
	f.Fuzz(func(t *testing.T, in []byte) {
		c := open
		if users := len(in) > 0 && in[0] == 0; users { // which is the first byte of no protocol
			c, in = closed, in[1:]
		}
		// From anywhere on this machine: one address has too few ports for so
		// many connections.
		n := rand.Uint32()
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, byte(n>>16), byte(n>>8), byte(n)|1)}}
		anyone, err := d.Dial("tcp", c.Addrs()[0].String())
		if err != nil {
			t.Skip(err)
		}
		defer anyone.Close()
		conn := anyone.(*net.TCPConn)
		conn.Write(in)
		conn.CloseWrite()
		conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		if _, err := io.Copy(io.Discard, conn); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Fatalf("%q: %v", in, err)
		}
		if c == closed {
			before := knew
			knew = bytes.Contains(in, []byte("secret")) || bytes.Contains(in, []byte("other")) || bytes.Contains(in, []byte("Basic"))
			if n := theirs.Swap(0); n > 0 && !knew && !before {
				t.Errorf("%q: carried without a password", in)
			}
		}
		behind.forget()
		behindClosed.forget()
	})
}

// A dripping is a reader that brings one byte, and then its end.
type dripping struct {
	came  bool
	asked int // for how many bytes, at most
}

func (d *dripping) Read(p []byte) (int, error) {
	d.asked = max(d.asked, len(p))
	if d.came {
		return 0, io.EOF
	}
	d.came = true
	return 1, nil
}

// What waits for a payload is no larger than what has come, about, however long it is said
// to be; and it comes whole.
func TestUDPStreamPayloadsHoldWhatHasCome(t *testing.T) {
	var d dripping
	if _, err := readPayload(&d, 65535); err == nil || d.asked > buf.SmallSize {
		t.Errorf("%v, and %d bytes are there for one", err, d.asked)
	}
	for _, n := range []int{0, 1, buf.SmallSize, buf.SmallSize + 1, 20000, 65535} {
		data := make([]byte, n)
		for i := range data {
			data[i] = byte(i * 7 >> 3)
		}
		b, err := readPayload(bytes.NewReader(data), n)
		if err != nil || !bytes.Equal(b.Bytes(), data) {
			t.Fatalf("%d bytes: %v", n, err)
		}
		b.Release()
	}
}

// inUse is how much of a quota is taken.
func inUse(q *admission.Quota) int {
	n, _ := q.State()
	return n
}

// What waits for applications that do not read is bounded for all of them together, who has
// nothing waiting gets the next, and one user's leave the others' some room.
func TestUDPStreamsShareWhatWaits(t *testing.T) {
	c := &Client{streamsOut: admission.NewQuota(udpStreamsOut, 0)}
	from, payload := netip.MustParseAddrPort("192.0.2.1:53"), make([]byte, 1000)
	var all []*udpStream
	fill := func(user string) (waits int) {
		u := new(udpStream)
		u.client, u.in.framing, u.holder = c, framingDatagrams, admission.Holder{User: user}
		all = append(all, u)
		for u.put(from, payload) {
		}
		if u.out == nil {
			t.Errorf("nothing waits for number %d", len(all))
			return 0
		}
		return len(u.out.frames)
	}
	for len(all) < 2*udpStreamsOut/udpStreamOut {
		if n := fill("greedy"); n < udpStreamTight-2*len(payload) {
			t.Errorf("%d bytes wait for number %d", n, len(all))
		}
	}
	if n := inUse(c.streamsOut); n < udpStreamsOut/2 || n > udpStreamsOut-udpStreamsOut/admission.Reserve {
		t.Errorf("%d bytes of one user's wait, of %d", n, udpStreamsOut)
	}
	if n := fill("modest"); n < udpStreamOut-2*len(payload) {
		t.Errorf("%d bytes wait for another user's", n)
	}
	for _, u := range all {
		b, _ := u.take()
		u.free(b)
	}
	if n := inUse(c.streamsOut); n != 0 {
		t.Errorf("%d bytes are left", n)
	}
}
