package client

import (
	"context"
	"errors"
	"io"
	stdlog "log"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"sync"
	"time"

	"github.com/mpsocks/mpsocks/client/admission"
	"github.com/mpsocks/mpsocks/mux/tcpio"
)

const (
	// maxWebHeader bounds the header of a request.
	maxWebHeader = 64 << 10
	// webIdle is how long a connection is kept between two requests. Until then
	// it waits in the lobby, like others that say nothing.
	webIdle = 2 * time.Minute
	// webUpstreams bounds the connections that are kept for one of an
	// application's, which nobody else's requests use.
	webUpstreams    = 8
	webUpstreamIdle = time.Minute
	// webFresh is how long ago a kept connection may have been used for a request that cannot be
	// sent a second time. Who has closed it meanwhile says so a way of the tunnel later; no
	// origin closes sooner.
	webFresh = time.Second
	// webContinue is how long an origin may think about whether it wants the body of a
	// request that asks that first (RFC 9110, Section 10.1.1).
	webContinue = 2 * time.Second
	// webEnded is how long a program that has ended its direction behind its request may
	// wait for the answer to begin. Where the system tells that it has closed its socket,
	// and not that direction only, it is not waited for.
	webEnded = 30 * time.Second
)

// web is the HTTP proxy at the SOCKS port: CONNECT (RFC 9110, Section 9.3.6)
// and requests with an absolute URI (RFC 9112, Section 3.2.2), both with the
// users of SOCKS (RFC 7617). Who asks for a page of the port itself is told what
// it is.
type web struct {
	client *Client
	server *http.Server
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newWeb(c *Client) *web {
	w := &web{client: c, conns: make(chan net.Conn), closed: make(chan struct{})}
	w.server = &http.Server{
		Handler:                      w,
		ReadHeaderTimeout:            handshakeTime,
		ReadTimeout:                  handshakeTime, // until ServeHTTP: what is refused before waits for its body
		IdleTimeout:                  webIdle,
		MaxHeaderBytes:               maxWebHeader,
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     stdlog.New(debugWriter{c.log}, "", 0),
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, webKey{}, conn)
		},
		ConnState: func(conn net.Conn, state http.ConnState) {
			if state == http.StateIdle {
				conn.(*webConn).idle()
			}
		},
	}
	return w
}

// run serves the connections that take brings until ctx ends.
func (w *web) run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { w.server.Close() })
	defer stop()
	if err := w.server.Serve(w); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Accept, Close and Addr implement net.Listener for the server.
func (w *web) Accept() (net.Conn, error) {
	select {
	case conn := <-w.conns:
		return conn, nil
	case <-w.closed:
		return nil, net.ErrClosed
	}
}

func (w *web) Close() error {
	w.once.Do(func() { close(w.closed) })
	return nil
}

func (w *web) Addr() net.Addr { return &net.TCPAddr{} }

// take hands a connection over, with what was read of it; false if it is left to
// the caller.
func (w *web) take(conn tcpio.Socket, p *preface, g *admission.Guest) bool {
	if conn.SetDeadline(time.Time{}) != nil {
		return false
	}
	wc := &webConn{Socket: conn, web: w, guest: g}
	if wc.rest, wc.target = spellOut(p.buf[p.start:p.end]); wc.target == "" {
		wc.rest = append([]byte(nil), p.buf[p.start:p.end]...)
	}
	wc.proxy = httputil.ReverseProxy{
		Rewrite:       rewrite,
		Transport:     wc.newTransport(),
		FlushInterval: -1, // what comes slowly is waited for
		ErrorLog:      w.server.ErrorLog,
		ErrorHandler:  func(rw http.ResponseWriter, _ *http.Request, err error) { w.fail(rw, err) },
	}
	select {
	case w.conns <- wc:
	case <-w.closed:
		wc.Close()
	}
	return true
}

// webKey is where a request's context has its connection.
type webKey struct{}

// webConn is one connection of an application that speaks HTTP.
type webConn struct {
	tcpio.Socket
	web       *web
	rest      []byte // read before, and not yet handed on
	fresh     bool   // a request has ended, and nothing of the next was read
	target    string // of the newest request that was spelled out, as it came
	proxy     httputil.ReverseProxy
	transport *http.Transport
	once      sync.Once

	// Of the goroutine that serves the connection.
	login string // the credentials that were right
	user  string
	last  string    // whom the request before was for
	ended time.Time // when it was answered

	mu     sync.Mutex       // guards all following fields
	guest  *admission.Guest // while it is in the lobby, or nil
	closed bool             // by Close
	over   bool             // the deadline of reads is a past one
	woken  chan struct{}    // closed with over or closed, while afterEnd waits; or nil
}

// Read reads what was read before first. While a request is served net/http reads one byte
// ahead, and takes the end for a program that has gone; many end their direction behind
// their last request and wait for the answer.
func (c *webConn) Read(b []byte) (int, error) {
	if len(c.rest) > 0 {
		n := copy(b, c.rest)
		c.rest = c.rest[n:]
		return n, nil
	}
	n, err := c.Socket.Read(b)
	if err == io.EOF && len(b) == 1 {
		err = c.afterEnd()
	}
	if n > 1 && c.fresh {
		c.fresh = false
		n = c.begun(b, n)
	}
	return n, err
}

// afterEnd waits until the request is served, or its program has gone, and returns what
// Read says of that.
func (c *webConn) afterEnd() error {
	c.mu.Lock()
	woken := make(chan struct{})
	c.woken = woken
	c.rouse()
	c.mu.Unlock()
	pause := openFirst
	for end := time.Now().Add(webEnded); time.Now().Before(end) && halfOpen(c.Socket); pause = openPause {
		select {
		case <-woken:
			return os.ErrDeadlineExceeded
		case <-time.After(pause):
		}
	}
	return io.EOF
}

// rouse ends afterEnd's wait if it is to end; c.mu is held.
func (c *webConn) rouse() {
	if c.woken != nil && (c.over || c.closed) {
		close(c.woken)
		c.woken = nil
	}
}

// SetReadDeadline sets it; one that is past ends a Read that has begun.
func (c *webConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	c.over = !t.IsZero() && !t.After(time.Now())
	c.rouse()
	c.mu.Unlock()
	return c.Socket.SetReadDeadline(t)
}

// Close ends the connection and all that was kept for it.
func (c *webConn) Close() error {
	err := c.Socket.Close()
	c.once.Do(func() {
		c.known()
		c.mu.Lock()
		c.closed = true
		c.rouse()
		c.mu.Unlock()
		c.transport.CloseIdleConnections()
		c.web.client.crowd.Leave(c.Socket)
	})
	return err
}

// known takes the connection out of the lobby.
func (c *webConn) known() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.guest != nil {
		c.web.client.crowd.Lobby.Leave(c.guest)
		c.guest = nil
	}
}

// idle takes it back into the lobby.
func (c *webConn) idle() {
	c.fresh = true
	g := c.web.client.crowd.Lobby.Enter(c.Socket)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		c.web.client.crowd.Lobby.Leave(g)
		return
	}
	c.guest = g
}
