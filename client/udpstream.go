package client

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/mpsocks/mpsocks/client/admission"
	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/tcpio"
)

const (
	// udpStreamIn is the buffer for what an application sends, and udpStreamOut
	// how much waits for it at most: what comes then is dropped, as a socket
	// does whose program does not read. What waits beyond udpStreamTight for each is
	// udpStreamsOut for all of them, of which one user has a share.
	udpStreamIn    = 8 << 10
	udpStreamOut   = 256 << 10
	udpStreamsOut  = 32 << 20
	udpStreamTight = 8 << 10
	// udpStreamBatch is how many datagrams go to the session in one piece.
	udpStreamBatch = 64
)

// udpStream is an association whose datagrams travel in its TCP connection.
type udpStream struct {
	inner

	// Set before it is known to others.
	conn    tcpio.Socket
	in      frameReader
	connect header        // the one destination of framingConnect; its name is a copy
	ready   chan struct{} // has one when there is something in out, or done is set

	outMu sync.Mutex // guards the following fields
	out   *udpOut    // of udpOuts; nil = none
	done  bool
}

// A udpOut is frames that wait for an application.
type udpOut struct {
	frames  []byte
	counted int // bytes of Client.streamsOut
}

// udpOuts are those without a frame: who has none holds none.
var udpOuts = sync.Pool{New: func() any { return &udpOut{frames: make([]byte, 0, udpStreamTight)} }}

// udpForm is how an application wants its datagrams in a connection.
type udpForm struct {
	framing udpFraming
	request bool // which may ask for framingConnect instead
}

// udpOverTCP returns the form that a CONNECT to a host asks for; false if that is a host.
func udpOverTCP(host []byte) (form udpForm, ok bool) {
	switch {
	case sameHost(host, uotHost):
		return udpForm{framingDatagrams, true}, true
	case sameHost(host, uotLegacyHost):
		return udpForm{framingDatagrams, false}, true
	}
	return form, false
}

// serveUDP is serveUDPStream for an application that spoke SOCKS; ready ends the handshake
// and releases the preface.
func serveUDP(a *caller, user string, form udpForm, ready func(), answer func() error) error {
	early := bytes.Clone(a.preface.buf[a.preface.start:a.preface.end])
	ready()
	return serveUDPStream(a.client, a.conn, user, early, form, answer)
}

// serveUDPStream serves datagrams in a TCP connection until that ends. early came behind
// the request, which answer answers; without that the error is a replyError. The
// connection has the deadline of its handshake.
func serveUDPStream(c *Client, conn tcpio.Socket, user string, early []byte, form udpForm, answer func() error) error {
	who := admission.HolderOf(user, addrOf(conn.RemoteAddr()).Addr())
	if !c.associations.Acquire(who) {
		return replyError{repFailure, errTooManyAssociations}
	}
	defer c.associations.Release(who)
	if !c.crowd.Descriptors.Hold(who, 1) {
		return replyError{repFailure, errTooManyDescriptors}
	}
	defer c.crowd.Descriptors.Release(who, 1)
	if err := answer(); err != nil {
		return err
	}
	u := &udpStream{conn: conn, ready: make(chan struct{}, 1)}
	u.client, u.source.User, u.holder = c, user, who
	r := bufio.NewReaderSize(io.MultiReader(bytes.NewReader(early), conn), udpStreamIn)
	u.in = frameReader{r: r, framing: form.framing}
	if form.request { // still within the handshake's time
		one, to, err := u.in.request()
		if err != nil {
			return fmt.Errorf("udp over tcp: %w", err)
		}
		if one {
			u.in.framing = framingConnect
			u.connect = header{to: to.to, host: bytes.Clone(to.host)}
		}
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return err
	}
	if err := c.ports.take(&u.innerPort, u); err != nil {
		return err
	}
	var writer sync.WaitGroup
	writer.Go(u.write)
	err := u.read(r)
	if !errors.Is(err, net.ErrClosed) {
		c.names.await(&u.inner) // what it said last may wait for a name
	}
	u.end()
	u.finish()
	conn.Close()
	writer.Wait()
	b, _ := u.take() // what came after the writer's end
	u.free(b)
	return err
}

// read takes datagrams from the application until its connection ends.
func (u *udpStream) read(r *bufio.Reader) error {
	for n := 1; ; n++ {
		to, length, err := u.in.next()
		if err != nil {
			return err
		}
		if u.in.framing == framingConnect {
			to = u.connect
		}
		b, err := readPayload(r, length)
		if err != nil {
			return err
		}
		u.send(b, &to)
		if n%udpStreamBatch == 0 || r.Buffered() < 2 {
			u.client.tunnel.Flush()
		}
	}
}

// readPayload reads a payload, and holds little more than what has come of it.
func readPayload(r io.Reader, length int) (*buf.Buffer, error) {
	b := buf.Get(min(length, buf.SmallSize))
	for have := 0; ; {
		n, err := io.ReadFull(r, b.Bytes()[have:])
		if have += n; err != nil {
			b.Release()
			return nil, err
		}
		if have == length {
			return b, nil
		}
		more := buf.Get(min(length, 4*have))
		copy(more.Bytes(), b.Bytes())
		b.Release()
		b = more
	}
}

// send sends one datagram; it takes b.
func (u *udpStream) send(b *buf.Buffer, h *header) {
	var now moment
	u.mu.Lock()
	defer u.mu.Unlock()
	to := h.to
	if h.host != nil {
		var kept bool
		if to, kept = u.toHost(h.host, h.to.Port(), b, 0, &now); kept {
			return
		} else if !to.IsValid() {
			b.Release()
			return
		}
	}
	if !u.wrap(b, to, 0) {
		b.Release()
		return
	}
	u.client.tunnel.Send(&u.source, appendPackets(nil, b))
}

// receive takes one packet from the tunnel to the application.
func (u *udpStream) receive(d *delivery, _, payload []byte) {
	from := d.udp.Src
	u.answered(from)
	if c := &u.connect; u.in.framing == framingConnect &&
		(from.Port() != c.to.Port() || c.host == nil && from.Addr() != c.to.Addr()) {
		u.client.drops.add(dropSource) // the application cannot tell senders apart
		return
	}
	if !u.put(from, payload) {
		u.client.drops.add(dropSend)
		return
	}
	u.client.downlink.received.Add(1)
	u.wake()
}

// put has a frame wait for the application; false if there is no room.
func (u *udpStream) put(from netip.AddrPort, payload []byte) bool {
	u.outMu.Lock()
	defer u.outMu.Unlock()
	waits, counted := 0, 0
	if u.out != nil {
		waits, counted = len(u.out.frames), u.out.counted
	}
	total := waits + maxFrameHeader + len(payload)
	// gost takes no length for no end.
	if len(payload) == 0 && u.in.framing == framingGost {
		return false
	}
	// One may always wait, whatever its size.
	if u.done || waits > 0 && total > udpStreamOut {
		return false
	}
	if more := total - udpStreamTight - counted; more > 0 && waits > 0 {
		if !u.client.streamsOut.Take(u.holder, more) {
			return false
		}
		counted += more
	}
	if u.out == nil {
		u.out = udpOuts.Get().(*udpOut)
	}
	u.out.frames, u.out.counted = u.in.framing.append(u.out.frames, from, payload), counted
	return true
}

// take takes all that waits, nil if nothing does, and says whether it is the end.
func (u *udpStream) take() (b *udpOut, done bool) {
	u.outMu.Lock()
	defer u.outMu.Unlock()
	b, u.out = u.out, nil
	return b, u.done
}

// free gives back what take has taken.
func (u *udpStream) free(b *udpOut) {
	if b == nil {
		return
	}
	if b.counted > 0 {
		u.client.streamsOut.Give(u.holder, b.counted)
	}
	if cap(b.frames) <= udpStreamOut/4 {
		b.frames, b.counted = b.frames[:0], 0
		udpOuts.Put(b)
	}
}

func (u *udpStream) wake() {
	select {
	case u.ready <- struct{}{}:
	default:
	}
}

// finish ends write.
func (u *udpStream) finish() {
	u.outMu.Lock()
	u.done = true
	u.outMu.Unlock()
	u.wake()
}

// write writes what waits for the application. udpStream starts it; finish and
// the connection's end stop it.
func (u *udpStream) write() {
	for range u.ready {
		b, done := u.take()
		var err error
		if b != nil && !done {
			_, err = u.conn.Write(b.frames)
		}
		u.free(b)
		if done {
			return
		}
		if err != nil {
			u.conn.Close() // read finds out
			return
		}
	}
}
