package cli

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"time"
)

// socksProxy is the other side of SOCKS5 (RFC 1928 and RFC 1929): what probe
// and the self-check of `run` ask a proxy with. It shares no code with the
// proxy itself, so that a mistake there cannot hide here.
type socksProxy struct {
	address        string
	user, password string // offered if user is not empty
}

// The commands of RFC 1928 section 4.
const (
	socksConnect   = 1
	socksAssociate = 3
)

// socksReplies are the words for RFC 1928 section 6's codes.
var socksReplies = [...]string{
	"succeeded", "general failure", "not allowed by the rules", "network unreachable", "host unreachable",
	"connection refused", "time to live expired", "command not supported", "address type not supported",
}

// socksRefusal is a reply other than success.
type socksRefusal byte

func (r socksRefusal) Error() string {
	if int(r) < len(socksReplies) {
		return fmt.Sprintf("the proxy answered %d, %s", byte(r), socksReplies[r])
	}
	return fmt.Sprintf("the proxy answered %d, which RFC 1928 does not know", byte(r))
}

// open connects and negotiates. The connection's deadline is ctx's.
func (p socksProxy) open(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	d.SetMultipathTCP(false)
	conn, err := d.DialContext(ctx, "tcp", p.address)
	if err != nil {
		return nil, err
	}
	if t, ok := ctx.Deadline(); ok {
		conn.SetDeadline(t)
	}
	if err := p.negotiate(conn); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// negotiate is RFC 1928 section 3 and RFC 1929.
func (p socksProxy) negotiate(conn net.Conn) error {
	hello := []byte{5, 1, 0}
	if p.user != "" {
		hello = []byte{5, 2, 0, 2}
	}
	if _, err := conn.Write(hello); err != nil {
		return err
	}
	var answer [2]byte
	if _, err := io.ReadFull(conn, answer[:]); err != nil {
		return fmt.Errorf("no SOCKS answer: %w", err)
	}
	switch {
	case answer[0] != 5:
		return errors.New("this is no SOCKS5 proxy")
	case answer[1] == 0:
		return nil
	case answer[1] == 2 && p.user != "":
	case p.user == "":
		return errors.New("the proxy wants a name and a password: --user and --password")
	default:
		return errors.New("the proxy takes none of: no authentication, name and password")
	}
	if len(p.user) > 255 || len(p.password) > 255 {
		return errors.New("name or password is over 255 bytes, the most that RFC 1929 can carry")
	}
	login := append([]byte{1, byte(len(p.user))}, p.user...)
	login = append(append(login, byte(len(p.password))), p.password...)
	if _, err := conn.Write(login); err != nil {
		return err
	}
	if _, err := io.ReadFull(conn, answer[:]); err != nil {
		return fmt.Errorf("no answer to the login: %w", err)
	}
	if answer[1] != 0 {
		return errors.New("the proxy refuses this name and password")
	}
	return nil
}

// request is RFC 1928 sections 4 and 6; bound is BND.ADDR and BND.PORT.
func request(conn net.Conn, command byte, target string) (bound netip.AddrPort, err error) {
	msg, err := appendTarget([]byte{5, command, 0}, target)
	if err != nil {
		return bound, err
	}
	if _, err := conn.Write(msg); err != nil {
		return bound, err
	}
	var head [4]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return bound, fmt.Errorf("no answer to the request: %w", err)
	}
	if head[1] != 0 {
		return bound, socksRefusal(head[1])
	}
	size, err := addressSize(conn, head[3])
	if err != nil {
		return bound, err
	}
	rest := make([]byte, size+2)
	if _, err := io.ReadFull(conn, rest); err != nil {
		return bound, fmt.Errorf("the answer ends early: %w", err)
	}
	addr, _ := netip.AddrFromSlice(rest[:size]) // a name stays the zero address
	return netip.AddrPortFrom(addr.Unmap(), binary.BigEndian.Uint16(rest[size:])), nil
}

// addressSize is the length of an address of the given type; a name's is read
// from the connection.
func addressSize(r io.Reader, kind byte) (int, error) {
	switch kind {
	case 1:
		return 4, nil
	case 4:
		return 16, nil
	case 3:
		var n [1]byte
		_, err := io.ReadFull(r, n[:])
		return int(n[0]), err
	}
	return 0, fmt.Errorf("the answer has an address of type %d, which RFC 1928 does not know", kind)
}

// appendTarget writes ATYP, address and port.
func appendTarget(b []byte, target string) ([]byte, error) {
	host, portText, err := net.SplitHostPort(target)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("%q has no port", target)
	}
	if a, err := netip.ParseAddr(host); err == nil {
		if a = a.Unmap(); a.Is4() {
			b = append(b, 1)
		} else {
			b = append(b, 4)
		}
		b = append(b, a.AsSlice()...)
	} else {
		if len(host) == 0 || len(host) > 255 {
			return nil, fmt.Errorf("%q has no host of 1 to 255 bytes", target)
		}
		b = append(append(b, 3, byte(len(host))), host...)
	}
	return binary.BigEndian.AppendUint16(b, uint16(port)), nil
}

// connect opens a TCP connection through the proxy.
func (p socksProxy) connect(ctx context.Context, target string) (net.Conn, error) {
	conn, err := p.open(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := request(conn, socksConnect, target); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// association is one UDP ASSOCIATE: it lives as long as its control
// connection.
type association struct {
	control net.Conn
	udp     *net.UDPConn
	relay   netip.AddrPort
	header  []byte // of every datagram sent: RSV, FRAG, ATYP, DST
	buf     []byte
}

// associate asks for a relay and prepares to send to one target through it.
func (p socksProxy) associate(ctx context.Context, target string) (*association, error) {
	header, err := appendTarget([]byte{0, 0, 0}, target)
	if err != nil {
		return nil, err
	}
	control, err := p.open(ctx)
	if err != nil {
		return nil, err
	}
	relay, err := request(control, socksAssociate, "0.0.0.0:0")
	if err == nil && relay.Port() == 0 {
		err = errors.New("the proxy names no relay port")
	}
	if err != nil {
		control.Close()
		return nil, err
	}
	if peer := control.RemoteAddr().(*net.TCPAddr).AddrPort().Addr(); !relay.Addr().IsValid() || relay.Addr().IsUnspecified() {
		relay = netip.AddrPortFrom(peer.Unmap(), relay.Port()) // "here", many proxies mean
	}
	udp, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(relay))
	if err != nil {
		control.Close()
		return nil, err
	}
	return &association{control, udp, relay, header, make([]byte, 1<<16)}, nil
}

func (a *association) Close() {
	a.udp.Close()
	a.control.Close()
}

// exchange sends one payload and waits until timeout for an answer that match
// accepts; others are left over from before.
func (a *association) exchange(payload []byte, timeout time.Duration, match func([]byte) bool) (time.Duration, error) {
	msg := append(a.header[:len(a.header):len(a.header)], payload...)
	a.udp.SetDeadline(time.Now().Add(timeout))
	start := time.Now()
	if _, err := a.udp.Write(msg); err != nil {
		return 0, err
	}
	for {
		n, err := a.udp.Read(a.buf)
		if err != nil {
			return 0, err
		}
		if body, ok := datagramBody(a.buf[:n]); ok && match(body) {
			return time.Since(start), nil
		}
	}
}

// datagramBody strips the header of RFC 1928 section 7.
func datagramBody(b []byte) ([]byte, bool) {
	if len(b) < 5 || b[2] != 0 {
		return nil, false // too short, or a fragment, which we did not send
	}
	size := map[byte]int{1: 4, 4: 16, 3: 1 + int(b[4])}[b[3]]
	if size == 0 || len(b) < 4+size+2 {
		return nil, false
	}
	return b[4+size+2:], true
}
