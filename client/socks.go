package client

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/txthinking/socks5"

	"github.com/mpsocks/mpsocks/client/admission"
	"github.com/mpsocks/mpsocks/mux/tcpio"
)

const (
	// handshakeTime is how long an application may take from connecting to the
	// end of its request.
	handshakeTime = 10 * time.Second
	// lingerTime and lingerBytes bound how long a refused application may go on
	// talking: closing at once would reset the connection, and the reset
	// can overtake the reply.
	lingerTime  = time.Second
	lingerBytes = 64 << 10
	// tlsHandshake is the first byte of TLS (RFC 8446, Section 5.1).
	tlsHandshake = 22
	// maxBlank is how many bytes of empty lines may stand before a request.
	maxBlank = 16
)

// Replies, RFC 1928, Section 6.
const (
	repSuccess     = socks5.RepSuccess
	repFailure     = socks5.RepServerFailure
	repNetwork     = socks5.RepNetworkUnreachable
	repNotAllowed  = socks5.RepNotAllowed
	repHost        = socks5.RepHostUnreachable
	repCommand     = socks5.RepCommandNotSupported
	repAddressType = socks5.RepAddressNotSupported
)

// replyError is a failure that the application is to be told with a reply.
type replyError struct {
	rep byte
	err error
}

func (e replyError) Error() string { return fmt.Sprintf("reply %02x: %v", e.rep, e.err) }
func (e replyError) Unwrap() error { return e.err }

var (
	errMethod   = errors.New("no acceptable authentication method")
	errPassword = errors.New("wrong user name or password")
	errCommand  = errors.New("unsupported command")
	errAtyp     = errors.New("unknown address type")
	errTLS      = errors.New("TLS, which is not spoken here")
)

// A socksPort is where applications find SOCKS and an HTTP proxy.
type socksPort struct {
	client *Client
	ln     *tcpio.Listener
}

// newSOCKSPort binds one; all has all of them, see listen.
func newSOCKSPort(c *Client, addr netip.AddrPort, all []netip.AddrPort) (*socksPort, error) {
	ln, err := listen(addr, all)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, c.front.explainBind(err, addr, true))
	}
	return &socksPort{c, ln}, nil
}

func (p *socksPort) listener() *tcpio.Listener { return p.ln }

// address is where it listens.
func (p *socksPort) address() netip.AddrPort { return addrOf(p.ln.Addr()) }

// sweep has nothing to end: an association ends with its connection.
func (p *socksPort) sweep() {}

func (p *socksPort) close() { p.ln.Close() }

// admit starts the goroutine of a connection, or closes it if there are no
// descriptors for it.
func (p *socksPort) admit(conn tcpio.Socket) {
	c := p.client
	if c.crowd.Enter(conn) {
		a := &caller{client: c, conn: conn, guest: c.crowd.Lobby.Enter(conn)}
		go a.serve()
	}
}

// A caller is an application that has connected to a SOCKS port, until it is known what
// it wants.
type caller struct {
	client  *Client
	conn    tcpio.Socket
	guest   *admission.Guest
	preface *preface
}

// serve runs the handshake of the connection and then, for a CONNECT, its
// stream. It was started by admit; the connection's end or deadline stops it. Who takes the
// connection over has it leave the crowd.
func (a *caller) serve() {
	c, conn := a.client, a.conn
	a.preface = newPreface(conn)
	taken, err := a.handshake()
	if taken {
		return
	}
	if err != nil {
		c.log.Debug().Err(err).Stringer("app", conn.RemoteAddr()).Msg("socks connection ended")
		var reply replyError
		if errors.As(err, &reply) {
			if writeReply(conn, reply.rep, netip.AddrPort{}) == nil {
				linger(conn)
			}
		} else if errors.Is(err, errMethod) || errors.Is(err, errPassword) {
			linger(conn) // they have been told
		}
	}
	conn.Close()
	c.crowd.Leave(conn)
}

// known takes the connection out of the lobby: it has said what it wants, and is counted as that.
func (a *caller) known() { a.client.crowd.Lobby.Leave(a.guest) }

// handshake tells the protocols apart by the first byte, negotiates, reads the
// request and serves it. It returns taken if the connection has found another
// owner.
func (a *caller) handshake() (taken bool, err error) {
	c, conn, p := a.client, a.conn, a.preface
	pending := true
	done := func() {
		if pending {
			pending = false
			a.known()
			p.release()
		}
	}
	defer done()
	if err := conn.SetDeadline(time.Now().Add(handshakeTime)); err != nil {
		return false, err
	}
	first, err := p.peek()
	// An empty line or two may stand before an HTTP request (RFC 9112, Section 2.2).
	for n := 0; n < maxBlank && err == nil && (first == '\r' || first == '\n'); n++ {
		p.start++
		first, err = p.peek()
	}
	switch {
	case err != nil:
		return false, err
	case first == tlsHandshake:
		c.words.Say(fmt.Sprintf("a program speaks TLS to the proxy at %s: enter it there as http:// or socks5h://, not as https://", conn.LocalAddr()))
		return false, errTLS
	case first == socks4Version:
		return false, a.socks4(done)
	case 'A' <= first && first <= 'Z' || 'a' <= first && first <= 'z': // a method
		if !c.web.take(conn, p, a.guest) {
			return false, net.ErrClosed
		}
		pending = false // the lobby's guest goes with it
		p.release()
		return true, nil
	}
	user, err := a.negotiate()
	if err != nil {
		c.failed.Add(1)
		return false, err
	}
	begin := p.start
	req, err := readRequest(p)
	if err != nil {
		c.failed.Add(1)
		return false, refuse(p.buf[begin:p.start], err)
	}
	switch req.Cmd {
	case socks5.CmdUDP:
		done()
		err := associate(c, conn, user, wantedPeer(req.Atyp, req.DstAddr, req.DstPort))
		return err == nil, err
	case cmdResolve:
		return false, a.resolve(user, req)
	case cmdResolvePTR:
		return false, tellName(a, user, req)
	case cmdHev:
		return false, serveUDP(a, user, udpForm{framing: framingHev}, done, a.granted)
	case cmdGost:
		return false, serveUDP(a, user, udpForm{framing: framingGost}, done, a.granted)
	case socks5.CmdConnect:
		if form, ok := udpOverTCP(hostOf(req)); ok {
			return false, serveUDP(a, user, form, done, a.granted)
		}
		return false, a.connect(user, req, begin, done)
	}
	c.failed.Add(1)
	return false, replyError{repCommand, errCommand}
}

// negotiate chooses the authentication method and checks the password. It
// returns the user's name, empty without authentication.
func (a *caller) negotiate() (user string, err error) {
	c, conn, p := a.client, a.conn, a.preface
	method := socks5.MethodNone
	if c.crowd.HasUsers() {
		method = socks5.MethodUsernamePassword
	}
	offer, err := socks5.NewNegotiationRequestFrom(p)
	// Programs that have a name and a password, if only to keep streams apart as at Tor,
	// may offer nothing else. Where there are no users anybody may be one.
	anybody := err == nil && method == socks5.MethodNone && !slices.Contains(offer.Methods, method)
	if anybody {
		method = socks5.MethodUsernamePassword
	}
	switch {
	case errors.Is(err, socks5.ErrBadRequest), err == nil && !slices.Contains(offer.Methods, method):
		// RFC 1928, Section 3: FF, and the client closes. So do we.
		socks5.NewNegotiationReply(socks5.MethodUnsupportAll).WriteTo(conn)
		return "", errMethod
	case err != nil:
		return "", fmt.Errorf("negotiate: %w", err)
	}
	if _, err := socks5.NewNegotiationReply(method).WriteTo(a.conn); err != nil {
		return "", fmt.Errorf("negotiate: %w", err)
	}
	if method == socks5.MethodNone {
		return "", nil
	}
	if anybody {
		return "", a.hearLogin()
	}
	login, err := socks5.NewUserPassNegotiationRequestFrom(p)
	switch {
	case errors.Is(err, socks5.ErrBadRequest), errors.Is(err, socks5.ErrUserPassVersion),
		err == nil && !c.crowd.Login(conn, login.Uname, login.Passwd):
		// RFC 1929, Section 2: a failure must close the connection.
		socks5.NewUserPassNegotiationReply(socks5.UserPassStatusFailure).WriteTo(conn)
		return "", errPassword
	case err != nil:
		return "", fmt.Errorf("log in: %w", err)
	}
	if _, err := socks5.NewUserPassNegotiationReply(socks5.UserPassStatusSuccess).WriteTo(conn); err != nil {
		return "", fmt.Errorf("log in: %w", err)
	}
	return string(login.Uname), nil
}

// hearLogin reads a name and a password that nobody asked for; either may be empty.
func (a *caller) hearLogin() error {
	var b [256]byte
	_, err := io.ReadFull(a.preface, b[:1])
	if err == nil && b[0] != socks5.UserPassVer {
		socks5.NewUserPassNegotiationReply(socks5.UserPassStatusFailure).WriteTo(a.conn)
		return errPassword
	}
	for range 2 {
		if err == nil {
			_, err = io.ReadFull(a.preface, b[:1])
		}
		if err == nil {
			_, err = io.ReadFull(a.preface, b[1:1+int(b[0])])
		}
	}
	if err == nil {
		_, err = socks5.NewUserPassNegotiationReply(socks5.UserPassStatusSuccess).WriteTo(a.conn)
	}
	if err != nil {
		return fmt.Errorf("log in: %w", err)
	}
	return nil
}

// readRequest reads a request, RFC 1928, Section 4. The empty name, which nothing can be
// connected to, is one of the ways to say in a UDP ASSOCIATE that one does not know yet where
// one will send from.
func readRequest(p *preface) (*socks5.Request, error) {
	begin := p.start
	req, err := socks5.NewRequestFrom(p)
	raw := p.buf[begin:p.start]
	if !errors.Is(err, socks5.ErrBadRequest) || len(raw) != 5 || raw[1] != socks5.CmdUDP || raw[3] != socks5.ATYPDomain {
		return req, err
	}
	port := make([]byte, 2)
	if _, err := io.ReadFull(p, port); err != nil {
		return nil, err
	}
	return &socks5.Request{Cmd: socks5.CmdUDP, Atyp: socks5.ATYPDomain, DstPort: port}, nil
}

// hostOf is the name that a request asks for, or nil.
func hostOf(req *socks5.Request) []byte {
	if req.Atyp != socks5.ATYPDomain || len(req.DstAddr) < 1 {
		return nil
	}
	return req.DstAddr[1:] // behind its length
}

// granted answers that datagrams travel in this connection.
func (a *caller) granted() error {
	return writeReply(a.conn, repSuccess, addrOf(a.conn.LocalAddr()))
}

// refuse finds the reply to a request that could not be read; raw is what was
// read of it.
func refuse(raw []byte, err error) error {
	switch {
	case errors.Is(err, socks5.ErrBadRequest) && len(raw) >= 4 && raw[3] != atypIPv4 && raw[3] != atypDomain && raw[3] != atypIPv6:
		if cmd := raw[1]; cmd != socks5.CmdConnect && cmd != socks5.CmdUDP {
			return replyError{repCommand, errCommand}
		}
		return replyError{repAddressType, errAtyp}
	case errors.Is(err, socks5.ErrBadRequest), errors.Is(err, socks5.ErrVersion):
		return replyError{repFailure, fmt.Errorf("malformed request: %w", err)}
	case errors.Is(err, io.ErrUnexpectedEOF):
		// Cut off by a half-close: the application may still read.
		return replyError{repFailure, fmt.Errorf("read request: %w", err)}
	}
	return fmt.Errorf("read request: %w", err)
}

// writeReply sends a reply, RFC 1928, Section 6; an invalid bound address is
// written as 0.0.0.0:0.
func writeReply(conn net.Conn, rep byte, bound netip.AddrPort) error {
	atyp, addr := socks5.ATYPIPv4, make([]byte, 4)
	if a := bound.Addr(); a.IsValid() {
		addr = a.AsSlice()
		if a.Is6() {
			atyp = socks5.ATYPIPv6
		}
	}
	port := binary.BigEndian.AppendUint16(nil, bound.Port())
	_, err := socks5.NewReply(rep, atyp, addr, port).WriteTo(conn)
	return err
}

// linger lets the application read the last reply: it closes our half and waits
// for the other one, within bounds.
func linger(conn tcpio.Socket) {
	if conn.CloseWrite() != nil || conn.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	io.CopyN(io.Discard, conn, lingerBytes)
}
