// Package socks speaks the application's side of SOCKS5 (RFC 1928, RFC 1929)
// as plainly as possible, for the programs and tests that judge the proxy: it
// shares no code with the client half on purpose.
package socks

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"time"
)

// The commands of RFC 1928 section 4.
const (
	CommandConnect   = 1
	CommandBind      = 2
	CommandAssociate = 3
)

// timeout bounds every exchange with the proxy; a proxy on loopback that needs
// longer than this has failed.
const timeout = 10 * time.Second

// ErrMethod says that the proxy accepts none of the offered methods (FF).
var ErrMethod = errors.New("socks: no acceptable method")

// ErrAuth says that the proxy refused the user name and password.
var ErrAuth = errors.New("socks: authentication refused")

// A Reply is a reply code other than 0 (RFC 1928 section 6).
type Reply byte

func (r Reply) Error() string { return fmt.Sprintf("socks: reply %02x", byte(r)) }

// A Dialer says how to reach a proxy. The zero Local lets the kernel choose;
// an empty User means that no authentication is offered.
type Dialer struct {
	Proxy          string // host:port
	Local          netip.Addr
	User, Password string
	// Control, when set, prepares the socket before it is bound.
	Control func(network, address string, c syscall.RawConn) error
}

// Open connects and negotiates the method; the caller owns the connection.
func (d *Dialer) Open() (*net.TCPConn, error) {
	dialer := net.Dialer{Timeout: timeout, Control: d.Control}
	if d.Local.IsValid() {
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(d.Local, 0))
	}
	conn, err := dialer.Dial("tcp", d.Proxy)
	if err != nil {
		return nil, fmt.Errorf("socks: %w", err)
	}
	c := conn.(*net.TCPConn)
	_ = c.SetDeadline(time.Now().Add(timeout))
	if err := d.negotiate(c); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

func (d *Dialer) negotiate(c *net.TCPConn) error {
	offer := []byte{5, 1, 0}
	if d.User != "" {
		offer[2] = 2
	}
	var answer [2]byte
	if err := exchange(c, offer, answer[:]); err != nil {
		return fmt.Errorf("socks: negotiation: %w", err)
	}
	if answer[0] != 5 || answer[1] != offer[2] {
		return ErrMethod
	}
	if d.User == "" {
		return nil
	}
	request := append([]byte{1, byte(len(d.User))}, d.User...)
	request = append(append(request, byte(len(d.Password))), d.Password...)
	if err := exchange(c, request, answer[:]); err != nil {
		return fmt.Errorf("socks: authentication: %w", err)
	}
	if answer[1] != 0 {
		return ErrAuth
	}
	return nil
}

func exchange(c net.Conn, request, answer []byte) error {
	if _, err := c.Write(request); err != nil {
		return err
	}
	_, err := io.ReadFull(c, answer)
	return err
}

// Request sends one request and reads its reply: the bound address, or a Reply
// as error. dst is host:port, the host an address or a name.
func Request(c net.Conn, command byte, dst string) (bound netip.AddrPort, err error) {
	b, err := AppendAddress([]byte{5, command, 0}, dst)
	if err != nil {
		return bound, err
	}
	if _, err := c.Write(b); err != nil {
		return bound, fmt.Errorf("socks: request: %w", err)
	}
	return ReadReply(c)
}

// ReadReply reads the reply to a request.
func ReadReply(c io.Reader) (bound netip.AddrPort, err error) {
	var head [4]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return bound, fmt.Errorf("socks: reply: %w", err)
	}
	length := 0
	switch head[3] {
	case 1:
		length = 4
	case 4:
		length = 16
	default:
		return bound, fmt.Errorf("socks: reply: address type %d", head[3])
	}
	rest := make([]byte, length+2)
	if _, err := io.ReadFull(c, rest); err != nil {
		return bound, fmt.Errorf("socks: reply: %w", err)
	}
	if head[0] != 5 {
		return bound, fmt.Errorf("socks: reply: version %d", head[0])
	}
	if head[1] != 0 {
		return bound, Reply(head[1])
	}
	addr, _ := netip.AddrFromSlice(rest[:length])
	return netip.AddrPortFrom(addr, binary.BigEndian.Uint16(rest[length:])), nil
}

// Connect opens a stream to dst through the proxy.
func (d *Dialer) Connect(dst string) (*net.TCPConn, error) {
	c, err := d.Open()
	if err != nil {
		return nil, err
	}
	if _, err := Request(c, CommandConnect, dst); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, c.SetDeadline(time.Time{})
}

// Associate opens a UDP association; it lives as long as the control
// connection, which the caller owns.
func (d *Dialer) Associate() (control *net.TCPConn, relay netip.AddrPort, err error) {
	c, err := d.Open()
	if err != nil {
		return nil, relay, err
	}
	relay, err = Request(c, CommandAssociate, "0.0.0.0:0")
	if err != nil {
		_ = c.Close()
		return nil, relay, err
	}
	return c, relay, c.SetDeadline(time.Time{})
}

// AppendAddress appends address type, address and port of host:port.
func AppendAddress(b []byte, dst string) ([]byte, error) {
	host, service, err := net.SplitHostPort(dst)
	if err != nil {
		return nil, fmt.Errorf("socks: %w", err)
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("socks: port of %q: %w", dst, err)
	}
	addr, err := netip.ParseAddr(host)
	switch {
	case err != nil && len(host) > 255:
		return nil, fmt.Errorf("socks: name of %d bytes", len(host))
	case err != nil:
		b = append(append(b, 3, byte(len(host))), host...)
	case addr.Is4():
		b = append(append(b, 1), addr.AsSlice()...)
	default:
		b = append(append(b, 4), addr.AsSlice()...)
	}
	return binary.BigEndian.AppendUint16(b, uint16(port)), nil
}

// AppendDatagram appends the header of a UDP request to dst and the payload.
func AppendDatagram(b []byte, dst string, payload []byte) ([]byte, error) {
	b, err := AppendAddress(append(b, 0, 0, 0), dst)
	return append(b, payload...), err
}

// ParseDatagram takes a datagram from the relay apart; the payload is a view.
func ParseDatagram(b []byte) (source netip.AddrPort, payload []byte, err error) {
	if len(b) < 4 || b[0] != 0 || b[1] != 0 || b[2] != 0 {
		return source, nil, fmt.Errorf("socks: datagram header % x", b[:min(len(b), 4)])
	}
	length := 4
	if b[3] == 4 {
		length = 16
	} else if b[3] != 1 {
		return source, nil, fmt.Errorf("socks: datagram address type %d", b[3])
	}
	if len(b) < 4+length+2 {
		return source, nil, fmt.Errorf("socks: datagram of %d bytes", len(b))
	}
	addr, _ := netip.AddrFromSlice(b[4 : 4+length])
	source = netip.AddrPortFrom(addr, binary.BigEndian.Uint16(b[4+length:]))
	return source, b[4+length+2:], nil
}
