package admin

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"

	"github.com/mpsocks/mpsocks/status"
)

// A pac serves a proxy auto-configuration file for browsers and desktops that take the URL
// of one: everything by the client's SOCKS5 port but names and addresses of the local
// network.
type pac struct{ status func() *status.Status }

func (p pac) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	st := p.status()
	if st == nil || st.Half != status.Client || len(st.Listen) == 0 {
		http.Error(w, "this half has no SOCKS5 port", http.StatusNotFound)
		return
	}
	proxy, err := netip.ParseAddrPort(st.Listen[0])
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	host := proxy.Addr().String()
	if proxy.Addr().IsUnspecified() { // as whoever asks has reached this machine
		host, _, err = net.SplitHostPort(r.Host)
		at, bad := netip.ParseAddr(host)
		if host = at.WithZone("").String(); err != nil || bad != nil { // a zone may be any text
			host = "127.0.0.1"
		}
	}
	at := net.JoinHostPort(host, fmt.Sprint(proxy.Port()))
	w.Header().Set("Content-Type", "application/x-ns-proxy-autoconfig")
	fmt.Fprintf(w, `function FindProxyForURL(url, host) {
  if (isPlainHostName(host) || dnsDomainIs(host, ".local") || dnsDomainIs(host, ".lan")) return "DIRECT";
  if (/^(127\.\d+|10\.\d+|192\.168|169\.254|172\.(1[6-9]|2\d|3[01]))\.\d+\.\d+$/.test(host) || host == "[::1]" || host == "::1") return "DIRECT";
  return "SOCKS5 %s; SOCKS %[1]s";
}
`, at)
}
