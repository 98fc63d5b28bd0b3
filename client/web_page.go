package client

import (
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/netip"

	"github.com/mpsocks/mpsocks/status"
)

// page is what a browser is shown that opens the port itself, for fmt, with the port's address.
const page = `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>mpsocks</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:42em;margin:3em auto;padding:0 1em}code{background:#8882;padding:.1em .3em}</style>
<h1>This is a proxy, not a web site</h1>
<p>Here is an <b>mpsocks</b> client. It carries the traffic of your programs over all the network paths
that this machine has. Enter it as a proxy where your system, browser or program asks for one:</p>
<ul>
<li>SOCKS5, with UDP: <code>socks5://%[1]s</code></li>
<li>SOCKS4 and SOCKS4a: <code>socks4a://%[1]s</code></li>
<li>HTTP and HTTPS: <code>http://%[1]s</code></li>
<li>Where the URL of a configuration (PAC) is asked for: <code>http://%[1]s/proxy.pac</code></li>
</ul>
<p>For example <code>curl --proxy socks5h://%[1]s https://example.com/</code>. How it is doing is said by
<code>mpsocks status</code>.</p>
</html>
`

// page serves the page, and a PAC file to whoever reaches the port; they have nothing of
// anybody's on them.
func (w *web) page(rw http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		rw.Header().Set("Allow", "GET, HEAD")
		http.Error(rw, "mpsocks: this is a proxy; requests for it have an absolute URI", http.StatusMethodNotAllowed)
		return
	}
	at := r.Context().Value(webKey{}).(*webConn).LocalAddr()
	h := rw.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if r.URL.Path == "/proxy.pac" {
		h.Set("Content-Type", status.PACType)
		io.WriteString(rw, status.PAC(portAsked(r.Host, at)))
		return
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
	if r.URL.Path != "/" {
		rw.WriteHeader(http.StatusNotFound)
	}
	fmt.Fprintf(rw, page, html.EscapeString(at.String()))
}

// portAsked is the port's address as the request has it, which may lead through a router or a
// container's port to this one; a name is left to those who know it.
func portAsked(host string, local net.Addr) netip.AddrPort {
	if at, err := netip.ParseAddrPort(host); err == nil {
		return at
	}
	at, _ := netip.ParseAddrPort(local.String())
	return at
}
