package client

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/client/admission"
	"github.com/mpsocks/mpsocks/mux"
)

var errWebTarget = errors.New("not a host and a port")

// ServeHTTP serves one request.
func (w *web) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	conn := r.Context().Value(webKey{}).(*webConn)
	conn.known()
	// net/http waits for the rest of a request's body when it was answered, and the
	// connection is in the lobby no more: that has an end.
	bounds := http.NewResponseController(rw)
	_ = bounds.SetReadDeadline(time.Time{})
	defer func() { _ = bounds.SetReadDeadline(time.Now().Add(lingerTime)) }()
	proxied := r.Method == http.MethodConnect || r.URL.IsAbs()
	switch {
	case !proxied:
		w.page(rw, r)
	case !conn.allowed(r.Header.Get("Proxy-Authorization")):
		rw.Header().Set("Proxy-Authenticate", `Basic realm="mpsocks", charset="UTF-8"`)
		http.Error(rw, "mpsocks: this proxy wants a user name and a password", http.StatusProxyAuthRequired)
	case r.Method == http.MethodConnect:
		w.connect(rw, r, conn)
	case r.URL.Scheme != "http" || r.URL.Host == "":
		http.Error(rw, "mpsocks: only http is proxied in the clear; use CONNECT", http.StatusNotImplemented)
	case lastHop(r):
		answerLastHop(rw, r)
	default:
		// An origin may answer while the body is still coming. Without this net/http reads
		// that away first: from under the proxy, which passes it on at the same time.
		_ = http.NewResponseController(rw).EnableFullDuplex()
		if !repeats(r) && (r.URL.Host != conn.last || time.Since(conn.ended) > webFresh) {
			conn.transport.CloseIdleConnections()
		}
		conn.proxy.ServeHTTP(asAnswered{rw}, r)
		conn.last, conn.ended = r.URL.Host, time.Now()
	}
}

// repeats says that net/http sends a request once more where its origin has closed the kept
// connection that it went by. Of the others a proxy cannot know that nothing was done, and must not
// (RFC 9110, Section 9.2.2); nor has it the body any more.
func repeats(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return r.ContentLength == 0
	}
	return false
}

// allowed says whether a request may use the proxy, by its credentials
// (RFC 7617); those that were right once are not looked at again.
func (c *webConn) allowed(credentials string) bool {
	if !c.web.client.crowd.HasUsers() {
		return true
	}
	if credentials == "" {
		return false // the first request of many programs; nothing was guessed
	}
	if credentials == c.login {
		return true
	}
	scheme, encoded, _ := strings.Cut(credentials, " ")
	text, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
	name, password, ok := strings.Cut(string(text), ":")
	if !strings.EqualFold(scheme, "Basic") || err != nil || !ok ||
		!c.web.client.crowd.Login(c.Socket, []byte(name), []byte(password)) {
		return false
	}
	c.login, c.user = credentials, name
	return true
}

// connect serves a CONNECT: the connection becomes a call.
func (w *web) connect(rw http.ResponseWriter, r *http.Request, conn *webConn) {
	// Not r.Host, which the header Host can be: a CONNECT has the authority form
	// (RFC 9112, Section 3.2.3).
	to := r.URL.Host
	host, _, _ := net.SplitHostPort(to)
	form, datagrams := udpOverTCP([]byte(host))
	flight, err := targetRequest(to)
	if err != nil && !datagrams {
		http.Error(rw, "mpsocks: "+err.Error(), http.StatusBadRequest)
		return
	}
	_, buffered, err := http.NewResponseController(rw).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	early, _ := buffered.Reader.Peek(buffered.Reader.Buffered())
	early = append(early[:len(early):len(early)], conn.rest...)
	if datagrams {
		serveUDPInWeb(w.client, conn, early, form)
		return
	}
	flight = append(flight, early...)
	k, err := newCall(w.client, conn.Socket, conn.user, flight)
	if err != nil {
		refuseConnect(conn, err)
		return
	}
	defer k.end()
	if w.client.earlyReply.Load() {
		_ = k.ahead(established(conn), flight, func() {})
		return
	}
	reply, err := k.ask(flight, len(early) > 0, func() {})
	if err == nil && reply.Rep != repSuccess {
		k.refused()
		err = replyError{reply.Rep, errExitRefused}
	}
	if err != nil {
		refuseConnect(conn, err)
		return
	}
	if established(conn) != nil {
		k.stream.Reset()
		return
	}
	k.splice()
}

// established answers a CONNECT.
func established(conn *webConn) error {
	_, err := conn.Write([]byte("HTTP/1.1 200 Connection established\r\n\r\n"))
	return err
}

// serveUDPInWeb serves datagrams in a connection that was made by CONNECT.
func serveUDPInWeb(c *Client, conn *webConn, early []byte, form udpForm) {
	err := conn.Socket.SetDeadline(time.Now().Add(handshakeTime))
	if err == nil {
		err = serveUDPStream(c, conn.Socket, conn.user, early, form, func() error { return established(conn) })
	}
	if _, refused := errors.AsType[replyError](err); refused {
		refuseConnect(conn, err)
	}
}

// refuseConnect answers a CONNECT whose connection was taken over already.
func refuseConnect(conn *webConn, err error) {
	code, body := webStatus(err), "mpsocks: "+webWords(err)+"\n"
	_, err = fmt.Fprintf(conn, "HTTP/1.1 %d %s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
		code, http.StatusText(code), len(body), body)
	if err == nil {
		linger(conn.Socket)
	}
}

// rewrite makes the request to the origin from the application's: it goes on as
// it came, but for what concerns the proxy, which httputil has taken out.
func rewrite(r *httputil.ProxyRequest) {
	r.Out.Host = r.Out.URL.Host // RFC 9112, Section 3.2.2
	r.Out.URL.RawQuery = r.In.URL.RawQuery
	conn := r.In.Context().Value(webKey{}).(*webConn)
	r.Out.URL.Opaque = pathAsWritten(conn.asWritten(r.In.RequestURI))
	if r.In.Method == http.MethodOptions && r.In.URL.Path == "" && r.In.URL.RawQuery == "" {
		r.Out.URL.Opaque = "*" // of the whole server (RFC 9112, Section 3.2.4)
	}
	r.Out.Trailer = r.In.Trailer // filled in when the body has come
	// To an origin that refuses a body before it has come, net/http sends it all the same where
	// the connection is to be kept, and has the program send it.
	r.Out.Close = r.In.Header.Get("Expect") != ""
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		if v, ok := r.In.Header[name]; ok {
			r.Out.Header[name] = v // the application's own affair; ours adds nothing
		}
	}
}

// pathAsWritten is the path of an absolute URI, byte by byte: what makes one of its parts
// would write some characters anew, and signed ones are then wrong. It is "" where the parts
// have to do.
func pathAsWritten(uri string) string {
	_, rest, _ := strings.Cut(uri, "://")
	rest, _, _ = strings.Cut(rest, "?")
	slash := strings.IndexByte(rest, '/')
	if slash < 0 || strings.HasPrefix(rest[slash:], "//") || strings.Contains(rest, "#") {
		return ""
	}
	return rest[slash:]
}

// newTransport makes connections for this application's connection alone: their
// streams count as its user's, and no other one's requests go over them.
func (c *webConn) newTransport() *http.Transport {
	c.transport = &http.Transport{
		DialContext:            c.dial,
		DisableCompression:     true,
		MaxIdleConns:           webUpstreams,
		MaxIdleConnsPerHost:    webUpstreams,
		IdleConnTimeout:        webUpstreamIdle,
		ExpectContinueTimeout:  webContinue,
		MaxResponseHeaderBytes: maxWebHeader,
	}
	return c.transport
}

// dial opens a stream to an origin.
func (c *webConn) dial(ctx context.Context, _, to string) (net.Conn, error) {
	flight, err := targetRequest(to)
	if err != nil {
		return nil, err
	}
	client, remote := c.web.client, addrOf(c.RemoteAddr())
	p := party{app: remote, proxy: addrOf(c.LocalAddr()), user: c.user, to: to}
	o, err := reach(ctx, client, admission.HolderOf(c.user, remote.Addr()), remote, p, mux.Wish{}, flight)
	if err != nil {
		return nil, err
	}
	return &webStream{outgoing: o}, nil
}

// webStream is a stream that a transport owns.
type webStream struct {
	*outgoing

	// Of the goroutine that reads.
	begun bool   // something has come
	rest  []byte // what is read in the place of what came, and not yet handed on
}

// Read reads an answer. The first one may begin as SHOUTcast's do, which radio players know and
// net/http does not.
func (s *webStream) Read(b []byte) (int, error) {
	if len(s.rest) > 0 {
		n := copy(b, s.rest)
		s.rest = s.rest[n:]
		return n, nil
	}
	n, err := s.stream.Read(b)
	s.client.streamDown.Add(uint64(n))
	if n > 0 && !s.begun {
		s.begun = true
		if rest, ok := bytes.CutPrefix(b[:n], []byte("ICY ")); ok {
			s.rest = append([]byte("HTTP/1.0 "), rest...)
			n = copy(b, s.rest)
			s.rest = s.rest[n:]
		}
	}
	return n, err
}

func (s *webStream) Write(b []byte) (int, error) {
	n, err := s.stream.Write(b)
	s.client.streamUp.Add(uint64(n))
	return n, err
}

var errExitRefused = errors.New("the exit did not make the connection")

// fail answers a request whose origin was not reached.
func (w *web) fail(rw http.ResponseWriter, err error) {
	w.client.log.Debug().Err(err).Msg("HTTP request failed")
	http.Error(rw, "mpsocks: "+webWords(err), webStatus(err))
}

// webWords is a failure as people read it.
func webWords(err error) string {
	if reply, ok := errors.AsType[replyError](err); ok && errors.Is(err, errExitRefused) && exitWords[reply.rep] != "" {
		return exitWords[reply.rep]
	}
	return err.Error()
}

// webStatus is the status of a failure.
func webStatus(err error) int {
	reply, ok := errors.AsType[replyError](err)
	switch {
	case errors.Is(err, errWebTarget):
		return http.StatusBadRequest
	case !ok:
		return http.StatusBadGateway
	case errors.Is(err, errTooManyStreams), errors.Is(err, errTooManyAssociations), errors.Is(err, errTooManyDescriptors):
		return http.StatusServiceUnavailable
	case reply.rep == repNotAllowed:
		return http.StatusForbidden
	case reply.rep == repNetwork && !errors.Is(err, errExitRefused):
		return http.StatusServiceUnavailable // no path to the server
	case reply.rep == repHost && !errors.Is(err, errExitRefused):
		return http.StatusGatewayTimeout
	}
	return http.StatusBadGateway
}

// targetRequest is the request to the exit for HOST:PORT.
func targetRequest(target string) ([]byte, error) {
	host, port, err := net.SplitHostPort(target)
	if err != nil || host == "" || len(host) > 255 {
		return nil, errWebTarget
	}
	p, err := strconv.ParseUint(port, 10, 16)
	if err != nil || p == 0 {
		return nil, errWebTarget
	}
	a, ok := parseLiteral(host)
	if !ok {
		if strings.Contains(host, ":") { // an address with a zone, which means nothing at the server
			return nil, errWebTarget
		}
		a = netip.Addr{}
	}
	return exitRequest(host, a, uint16(p)), nil
}

// debugWriter writes each line that net/http would log as a debug event.
type debugWriter struct{ log zerolog.Logger }

func (w debugWriter) Write(line []byte) (int, error) {
	w.log.Debug().Str("http", strings.TrimSpace(string(line))).Msg("http connection")
	return len(line), nil
}
