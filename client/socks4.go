package client

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"

	"github.com/txthinking/socks5"

	"github.com/mpsocks/mpsocks/mux/tcpio"
)

// SOCKS4 as its authors wrote it down (Ying-Da Lee, "SOCKS: A protocol for TCP
// proxy across firewalls"), and 4A, which has names.
const (
	socks4Version = 4
	socks4Connect = 1
	socks4Granted = 90
	socks4Failed  = 91
	// maxUser4 bounds the user ID, which means nothing here.
	maxUser4 = 255
)

var (
	errSocks4       = errors.New("malformed SOCKS4 request")
	errSocks4Users  = errors.New("SOCKS4 has no passwords, and there are users")
	errSocks4Failed = errors.New("the exit did not make the connection of a SOCKS4 request")
)

// request4 is a SOCKS4 or 4A request.
type request4 struct {
	command byte
	addr    netip.Addr // invalid if there is a host
	host    string
	port    uint16
}

// readRequest4 reads a request, which has 8 bytes, the user ID and a zero, and,
// where the address is 0.0.0.x, a host and a zero.
func readRequest4(r io.Reader) (q request4, err error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return q, err
	}
	if head[0] != socks4Version {
		return q, errSocks4
	}
	q.command, q.port = head[1], binary.BigEndian.Uint16(head[2:])
	if _, err := readText4(r, maxUser4); err != nil {
		return q, err
	}
	q.addr = netip.AddrFrom4([4]byte(head[4:]))
	if head[4]|head[5]|head[6] != 0 || head[7] == 0 {
		return q, nil
	}
	if q.host, err = readText4(r, maxHost+1); err != nil {
		return q, err
	}
	if q.host == "" {
		return q, errSocks4
	}
	q.addr = netip.Addr{}
	if a, ok := parseLiteral(q.host); ok {
		q.addr, q.host = a, ""
	}
	return q, nil
}

// readText4 reads to a zero byte, and no further.
func readText4(r io.Reader, most int) (string, error) {
	var text [256]byte
	for n := range most + 1 {
		if _, err := io.ReadFull(r, text[n:n+1]); err != nil {
			return "", err
		}
		if text[n] == 0 {
			return string(text[:n]), nil
		}
	}
	return "", errSocks4
}

// socks4 serves a SOCKS4 or 4A connection; ready ends the handshake and releases the preface.
func (a *caller) socks4(ready func()) error {
	c, conn, p := a.client, a.conn, a.preface
	q, err := readRequest4(p)
	switch {
	case err == nil && q.command != socks4Connect && q.command != cmdResolve:
		err = errCommand
	case err == nil && c.crowd.HasUsers():
		err = errSocks4Users
	}
	if err != nil {
		c.failed.Add(1)
		if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			reply4(conn, socks4Failed, netip.AddrPort{})
		}
		return fmt.Errorf("socks4: %w", err)
	}
	if q.command == cmdResolve {
		return a.resolve4(q)
	}
	if form, ok := udpOverTCP([]byte(q.host)); ok {
		err := serveUDP(a, "", form, ready, func() error { return write4(conn, socks4Granted, netip.AddrPort{}) })
		if _, refused := errors.AsType[replyError](err); refused {
			reply4(conn, socks4Failed, netip.AddrPort{})
		}
		return err
	}
	flight := append(exitRequest(q.host, q.addr, q.port), p.buf[p.start:p.end]...)
	a.known()
	k, err := newCall(c, conn, "", flight)
	if err != nil {
		reply4(conn, socks4Failed, netip.AddrPort{})
		return err
	}
	defer k.end()
	if c.earlyReply.Load() {
		return k.ahead(write4(conn, socks4Granted, netip.AddrPort{}), flight, ready)
	}
	reply, err := k.ask(flight, p.end > p.start, ready)
	switch {
	case errors.Is(err, errAbandoned):
		return err
	case err != nil:
		reply4(conn, socks4Failed, netip.AddrPort{})
		return err
	case reply.Rep != repSuccess:
		k.refused()
		reply4(conn, socks4Failed, netip.AddrPort{})
		return errSocks4Failed
	}
	if err := write4(conn, socks4Granted, boundOf(reply)); err != nil {
		k.stream.Reset()
		return err
	}
	k.splice()
	return nil
}

// reply4 tells the application and lets it read that.
func reply4(conn tcpio.Socket, code byte, bound netip.AddrPort) {
	if write4(conn, code, bound) == nil {
		linger(conn)
	}
}

// write4 writes a reply: a zero, the code, and what the exit's socket is bound
// to, if that is IPv4.
func write4(conn net.Conn, code byte, bound netip.AddrPort) error {
	b := [8]byte{0, code}
	if bound.Addr().Is4() {
		binary.BigEndian.PutUint16(b[2:], bound.Port())
		copy(b[4:], bound.Addr().AsSlice())
	}
	_, err := conn.Write(b[:])
	return err
}

// boundOf is the address in the exit's reply, or none.
func boundOf(r *socks5.Reply) netip.AddrPort {
	a, ok := netip.AddrFromSlice(r.BndAddr)
	if !ok || len(r.BndPort) != 2 {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(a.Unmap(), binary.BigEndian.Uint16(r.BndPort))
}
