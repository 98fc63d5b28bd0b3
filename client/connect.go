package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/txthinking/socks5"

	"github.com/mpsocks/mpsocks/mux/packet"
)

const (
	// tunnelTime is how long a CONNECT waits for a path to come up. Applications
	// wait longer for a connection; a network that is back within it goes
	// unnoticed.
	tunnelTime = 5 * time.Second
	// exitTime is how long the exit may take to reach the destination: longer
	// than it tries itself, so that its own answer is the one that is heard.
	exitTime = 60 * time.Second
)

var (
	errTooManyStreams = errors.New("too many streams")
	errExit           = errors.New("the exit speaks no SOCKS5")

	// exit is the SOCKS5 CONNECT exit: the server, inside the tunnel.
	exit = netip.AddrPortFrom(packet.ServerHost4, packet.ExitPort)
)

// stream is what a CONNECT needs of a mux.Stream. io.Copy finds its ReadFrom
// and WriteTo.
type stream interface {
	net.Conn
	CloseWrite() error
	Reset()
}

// connect serves a CONNECT request, RFC 1928, Section 4. The exit at the server
// gets the application's own request and the application the exit's own reply.
// The request begins at begin in p; ready ends the handshake and releases p.
func (c *Client) connect(conn *net.TCPConn, user string, p *preface, begin int, ready func()) error {
	remote := conn.RemoteAddr().(*net.TCPAddr).AddrPort()
	remote = netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
	who := holderOf(user, remote.Addr())
	if !c.streams.acquire(who) {
		return replyError{repFailure, errTooManyStreams}
	}
	defer c.streams.release(who)
	// The handshake's deadline goes: the waits below have their own.
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return err
	}
	st, err := c.openStream(remote)
	if err != nil {
		return err
	}
	defer st.Close()

	// One flight: an offer of no authentication in place of the application's
	// negotiation, which had three bytes at least, then its request, then what
	// it sent without waiting.
	flight := p.buf[begin-3 : p.end]
	copy(flight, []byte{socks5.Ver, 1, socks5.MethodNone})
	_, err = st.Write(flight)
	ready()
	if err != nil {
		st.Reset()
		return replyError{repFailure, fmt.Errorf("ask the exit: %w", err)}
	}
	reply, err := readExit(st)
	if err != nil {
		st.Reset()
		return err
	}
	if _, err := reply.WriteTo(conn); err != nil {
		st.Reset()
		return fmt.Errorf("pass the exit's reply: %w", err)
	}
	if reply.Rep != repSuccess {
		c.exitRefused.Add(1)
		linger(conn)
		return nil
	}
	c.splice(conn, st)
	return nil
}

// openStream waits a bounded time for the tunnel and opens a stream to the exit.
func (c *Client) openStream(from netip.AddrPort) (stream, error) {
	ctx, cancel := context.WithTimeout(c.life, tunnelTime)
	defer cancel()
	if err := c.tunnel.Ready(ctx); err != nil {
		return nil, replyError{repNetwork, fmt.Errorf("no path to the server: %w", err)}
	}
	st, err := c.tunnel.OpenStream(ctx, from, exit)
	if err != nil {
		rep := repFailure
		if errors.Is(err, context.DeadlineExceeded) {
			rep = repNetwork
		}
		return nil, replyError{rep, fmt.Errorf("open a stream: %w", err)}
	}
	return st, nil
}

// readExit reads the exit's answers to the offer and to the request. The reads
// are of exact lengths: what follows is the destination's.
func readExit(st stream) (*socks5.Reply, error) {
	if err := st.SetReadDeadline(time.Now().Add(exitTime)); err != nil {
		return nil, replyError{repFailure, err}
	}
	var method [2]byte
	_, err := io.ReadFull(st, method[:])
	if err == nil && method != [2]byte{socks5.Ver, socks5.MethodNone} {
		err = errExit
	}
	var reply *socks5.Reply
	if err == nil {
		reply, err = socks5.NewReplyFrom(st)
	}
	if err == nil {
		err = st.SetReadDeadline(time.Time{})
	}
	if err != nil {
		rep := repFailure
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			rep = repHost
		}
		return nil, replyError{rep, fmt.Errorf("wait for the exit: %w", err)}
	}
	return reply, nil
}

// splice copies both ways until both are done. The end of one direction is
// passed on as such; a failure of either ends both with a reset.
func (c *Client) splice(conn *net.TCPConn, st stream) {
	up := make(chan struct{})
	// This goroutine ends when the application closes, or when either end
	// fails and the reset below reaches it.
	go func() {
		defer close(up)
		n, err := io.Copy(st, conn)
		c.streamUp.Add(uint64(n))
		if err != nil || st.CloseWrite() != nil {
			reset(conn, st)
		}
	}()
	n, err := io.Copy(conn, st)
	c.streamDown.Add(uint64(n))
	if err != nil || conn.CloseWrite() != nil {
		reset(conn, st)
	}
	<-up
}

// reset ends both sides of a broken CONNECT the way it broke.
func reset(conn *net.TCPConn, st stream) {
	st.Reset()
	conn.SetLinger(0)
	conn.Close()
}
