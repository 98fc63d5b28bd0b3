package admin

import (
	"io"
	"net"
	"net/http"
	"net/netip"

	"github.com/mpsocks/mpsocks/status"
)

// A pac serves the client's PAC file; the port serves it too, to whoever reaches that.
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
	if proxy.Addr().IsUnspecified() { // as whoever asks has reached this machine
		at := netip.AddrFrom4([4]byte{127, 0, 0, 1})
		if host, _, err := net.SplitHostPort(r.Host); err == nil {
			if asked, err := netip.ParseAddr(host); err == nil {
				at = asked
			}
		}
		proxy = netip.AddrPortFrom(at, proxy.Port())
	}
	w.Header().Set("Content-Type", status.PACType)
	io.WriteString(w, status.PAC(proxy))
}
