package admin

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// Who may see what:
//
//   - a Unix socket is its owner's and root's, and so is everything there;
//   - over TCP /healthz, /readyz and /metrics are open on loopback, and the rest asks
//     for the token: as `Authorization: Bearer`, or as the cookie and the key that the
//     page's link leaves in a browser;
//   - whatever a page of another site asks for is refused (Fetch Metadata, and Origin
//     where a browser sends no such), and so is a name other than localhost on
//     loopback, which may have been rebound to it.

type connKey struct{}

// bodyTime is how long the body of a request may take that was answered already.
const bodyTime = time.Second

// withConn keeps the connection for local.
func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// local says how a request came: by a Unix socket, or over TCP from loopback to loopback. Where
// a machine routes its loopback addresses (route_localnet, which Kubernetes sets), others of its
// network reach them too.
func local(r *http.Request) (unix, loopback bool) {
	c, _ := r.Context().Value(connKey{}).(net.Conn)
	if c == nil {
		return false, false
	}
	switch a := c.LocalAddr().(type) {
	case *net.UnixAddr:
		return true, false
	case *net.TCPAddr:
		from, ok := c.RemoteAddr().(*net.TCPAddr)
		return false, ok && a.IP.IsLoopback() && from.IP.IsLoopback()
	}
	return false, false
}

// guard refuses what no page of ours and no tool asks for.
func guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// net/http waits for the rest of a request's body when it was answered.
		conn := http.NewResponseController(w)
		_ = conn.SetReadDeadline(time.Time{}) // a stream of events has no end
		defer func() { _ = conn.SetReadDeadline(time.Now().Add(bodyTime)) }()
		unix, loopback := local(r)
		if loopback && !unix {
			host, _, err := net.SplitHostPort(r.Host)
			if err != nil {
				host = strings.Trim(r.Host, "[]")
			}
			if _, err := netip.ParseAddr(host); err != nil && host != "localhost" {
				http.Error(w, "ask by address", http.StatusForbidden)
				return
			}
		}
		if crossSite(r) {
			http.Error(w, "asked for by another site", http.StatusForbidden)
			return
		}
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// crossSite says whether a browser asks on behalf of another site's page.
func crossSite(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
	default: // same-site is another port's page
		return true
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		u, err := url.Parse(origin)
		return err != nil || u.Host != r.Host
	}
	return false
}

// A porter lets in who has the token.
type porter struct {
	token   string // "" lets in nobody
	refusal http.HandlerFunc
}

// open serves on loopback and by a Unix socket to everybody, elsewhere to who has the
// token.
func (p *porter) open(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		unix, loopback := local(r)
		if unix || loopback || p.admitted(r) {
			next(w, r)
			return
		}
		p.refusal(w, r)
	}
}

// closed serves to who has the token, or came by a Unix socket.
func (p *porter) closed(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if unix, _ := local(r); unix || p.admitted(r) {
			if c, ok := r.Context().Value(connKey{}).(net.Conn); ok {
				trust(c)
			}
			next(w, r)
			return
		}
		p.refusal(w, r)
	}
}

// admitted says whether the request has the token.
func (p *porter) admitted(r *http.Request) bool {
	if p.token == "" {
		return false
	}
	if bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		return same(bearer, p.token)
	}
	c, err := r.Cookie(cookieName(r))
	if err != nil || !same(c.Value, cookieValue(p.token)) {
		return false
	}
	return r.URL.Path == "/" || same(cmp.Or(r.Header.Get(pageHeader), r.URL.Query().Get(pageField)), pageKey(p.token))
}

// A browser sends a cookie to all ports of an address, also to those where programs of other
// users listen, but what a page has stored it shows to pages of the same port only. So the
// cookie alone opens the page without anything on it, and what that asks for it asks for with
// a key: in a header, or in the URL where the browser does not let it set one.
const (
	pageHeader = "Mpsocks-Page"
	pageField  = "page"
)

// pageKey is that key; it does not show the token.
func pageKey(token string) string {
	sum := sha256.Sum256([]byte("mpsocks admin page " + token))
	return hex.EncodeToString(sum[:])
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// cookieName has the port in it, for cookies do not tell ports apart and both halves
// may be at one address.
func cookieName(r *http.Request) string {
	_, port, err := net.SplitHostPort(r.Host)
	if err != nil {
		port = "80"
	}
	return "mpsocks_" + port
}

// cookieValue lets who holds the cookie do with pageKey what the token does, and does not show it.
func cookieValue(token string) string {
	sum := sha256.Sum256([]byte("mpsocks admin cookie " + token))
	return hex.EncodeToString(sum[:])
}

// enter takes the token out of the page's link and leaves a cookie and a key instead: browsers
// send no fragment to anybody, and the page takes it out of the address.
func (p *porter) enter(w http.ResponseWriter, r *http.Request) bool {
	token := r.URL.Query().Get("token")
	if token == "" {
		return false
	}
	if p.token == "" || !same(token, p.token) {
		p.refusal(w, r)
		return true
	}
	http.SetCookie(w, &http.Cookie{
		Name: cookieName(r), Value: cookieValue(p.token), Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode,
		MaxAge: 30 * 24 * 3600, Secure: r.TLS != nil,
	})
	http.Redirect(w, r, "/#"+pageKey(p.token), http.StatusSeeOther)
	return true
}
