package client

import (
	"context"
	"encoding/binary"
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
	errAbandoned      = errors.New("the application has given up")

	// exit is the SOCKS5 CONNECT exit: the server, inside the tunnel.
	exit = netip.AddrPortFrom(packet.ServerHost4, packet.ExitPort)
	// greeting is the offer of no authentication that the exit gets before the
	// request, in one flight.
	greeting = []byte{socks5.Ver, 1, socks5.MethodNone}
)

// stream is what a CONNECT needs of a mux.Stream. io.Copy finds its ReadFrom
// and WriteTo.
type stream interface {
	net.Conn
	CloseWrite() error
	Reset()
	Stands(yes bool)
}

// connect serves a CONNECT request, RFC 1928, Section 4. The exit at the server
// gets the application's own request and the application the exit's own reply.
// The request begins at begin in the preface; ready ends the handshake and releases that.
func (a *caller) connect(user string, req *socks5.Request, begin int, ready func()) error {
	conn, p := a.conn, a.preface
	// The greeting goes in place of the application's negotiation, which had
	// three bytes at least; what it sent without waiting follows its request.
	flight := p.buf[begin-len(greeting) : p.end]
	if a, ok := literalName(req); ok {
		flight = append(exitRequest(a.String(), a, binary.BigEndian.Uint16(req.DstPort)), p.buf[p.start:p.end]...)
	} else {
		copy(flight, greeting)
	}
	a.known()
	k, err := newCall(a.client, conn, user, flight)
	if err != nil {
		return err
	}
	defer k.end()
	if a.client.earlyReply.Load() {
		yes := socks5.NewReply(repSuccess, atypIPv4, make([]byte, 4), make([]byte, 2))
		_, err := yes.WriteTo(a.conn)
		return k.ahead(err, flight, ready)
	}
	k.yes = exitWord
	reply, err := k.ask(flight, p.end > p.start, ready)
	if err != nil {
		return err
	}
	if k.told {
		k.splice()
		return nil
	}
	if _, err := reply.WriteTo(a.conn); err != nil {
		k.stream.Reset()
		return fmt.Errorf("pass the exit's reply: %w", err)
	}
	if reply.Rep != repSuccess {
		k.refused()
		linger(conn)
		return nil
	}
	k.splice()
	return nil
}

// grants says whether what the exit says first is all of a yes, and how long its answer to the offer is
// and the whole.
func grants(first []byte) (method, all int, yes bool) {
	const atyp = 3
	method = len(greeting) - 1
	if len(first) < method+atyp+2 || first[0] != socks5.Ver || first[1] != socks5.MethodNone {
		return 0, 0, false
	}
	reply := first[method:]
	all = method + atyp + 1 + 2 // and the port
	switch reply[atyp] {
	case atypIPv4:
		all += net.IPv4len
	case atypIPv6:
		all += net.IPv6len
	case atypDomain:
		all += 1 + int(reply[atyp+1])
	}
	known := all > method+atyp+1+2+1 // there is an address, and a name is not empty
	return method, all, known && reply[0] == socks5.Ver && reply[1] == repSuccess && len(first) >= all
}

// literalName returns the address that stands where a name could, as [2001:db8::1]
// does in many programs: the exit takes names, and this is none.
func literalName(req *socks5.Request) (netip.Addr, bool) {
	host := hostOf(req)
	if host == nil {
		return netip.Addr{}, false
	}
	return parseLiteral(string(host))
}

// exitRequest is the flight that asks the exit for a connection: to addr if it
// is valid, and else to a host of at most 255 bytes.
func exitRequest(host string, addr netip.Addr, port uint16) []byte {
	b := append(make([]byte, 0, 512), greeting...)
	b = append(b, socks5.Ver, socks5.CmdConnect, 0)
	switch {
	case addr.Is4():
		b = append(b, atypIPv4)
		b = append(b, addr.AsSlice()...)
	case addr.IsValid():
		b = append(b, atypIPv6)
		b = append(b, addr.AsSlice()...)
	default:
		b = append(b, atypDomain, byte(len(host)))
		b = append(b, host...)
	}
	return binary.BigEndian.AppendUint16(b, port)
}

// openStream waits a bounded time for the tunnel and opens a stream to the exit.
func openStream(ctx context.Context, c *Client, from netip.AddrPort) (stream, error) {
	waits := &patience{Context: ctx, client: c, time: tunnelTime}
	defer waits.end()
	if err := c.tunnel.Ready(waits); err != nil {
		return nil, replyError{repNetwork, fmt.Errorf("no path to the server: %w", err)}
	}
	st, err := c.tunnel.OpenStream(waits, from, exit)
	if err != nil {
		rep := repFailure
		if errors.Is(err, context.DeadlineExceeded) {
			rep = repNetwork
		}
		return nil, replyError{rep, fmt.Errorf("open a stream: %w", err)}
	}
	return st, nil
}

// readExit reads the exit's answers to the offer and to the request, until then at the latest, and calls
// asked between them: the name is known. The reads are of exact lengths: what follows is the destination's.
func readExit(st stream, until time.Time, asked func()) (*socks5.Reply, error) {
	if err := st.SetReadDeadline(until); err != nil {
		return nil, replyError{repFailure, err}
	}
	var method [2]byte
	_, err := io.ReadFull(st, method[:])
	if err == nil && method != [2]byte{socks5.Ver, socks5.MethodNone} {
		err = errExit
	}
	var reply *socks5.Reply
	if err == nil {
		asked()
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
