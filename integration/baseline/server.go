package baseline

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/netip"
	"sync"
)

// Serve is the far half: it listens with MPTCP and sends everything to where it says.
func Serve(ctx context.Context, at netip.AddrPort) error {
	var lc net.ListenConfig
	lc.SetMultipathTCP(true)
	l, err := lc.Listen(ctx, "tcp", at.String())
	if err != nil {
		return err
	}
	return accept(ctx, l, serve)
}

// serve handles one connection of a client.
func serve(c net.Conn) {
	in := bufio.NewReaderSize(c, 256<<10)
	kind, err := in.ReadByte()
	if err != nil {
		return
	}
	if kind == 'c' {
		serveStream(c, in)
		return
	}
	relays := map[uint16]*net.UDPConn{}
	defer func() {
		for _, u := range relays {
			u.Close()
		}
	}()
	out := &frameWriter{conn: c}
	buf := make([]byte, maxFrame)
	for {
		id, to, payload, err := readFrame(in, buf)
		if err != nil {
			return
		}
		u := relays[id]
		if u == nil {
			if u, err = net.ListenUDP("udp", nil); err != nil {
				return
			}
			u.SetReadBuffer(4 << 20)
			relays[id] = u
			go relay(u, out, id)
		}
		u.WriteToUDPAddrPort(payload, to) // a destination that cannot be reached is a lost datagram
	}
}

// relay brings the answers of one association back until its socket closes.
func relay(u *net.UDPConn, out *frameWriter, id uint16) {
	buf := make([]byte, maxFrame)
	for {
		n, from, err := u.ReadFromUDPAddrPort(buf)
		if err != nil || out.write(id, from, buf[:n]) != nil {
			return
		}
	}
}

// serveStream connects to the destination that stands in front of the stream.
func serveStream(c net.Conn, in *bufio.Reader) {
	head, err := in.Peek(1)
	if err != nil {
		return
	}
	n := 7
	if head[0] == atypIPv6 {
		n = 19
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(in, b); err != nil {
		return
	}
	to, _, err := splitAddr(b)
	if err != nil {
		return
	}
	far, err := net.Dial("tcp", to.String())
	if err != nil {
		return
	}
	defer far.Close()
	if b, _ := in.Peek(in.Buffered()); len(b) > 0 {
		if _, err := far.Write(b); err != nil {
			return
		}
	}
	splice(c, far)
}

// frameWriter lets associations share the connection; a full send buffer makes them wait.
type frameWriter struct {
	conn net.Conn
	mu   sync.Mutex // guards all following fields
	buf  []byte
}

func (w *frameWriter) write(id uint16, a netip.AddrPort, payload []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var ok bool
	if w.buf, ok = appendFrame(w.buf[:0], id, a, payload); !ok {
		return nil // larger than the method can carry: lost
	}
	_, err := w.conn.Write(w.buf)
	return err
}
