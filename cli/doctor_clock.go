package cli

import (
	"bufio"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// clockSlack is how far this machine's clock may be from the server's: a client that is further
// off is a stranger to a server with a cover.
const clockSlack = 24 * time.Hour

// webDate asks a web server for its date, by HTTPS without a look at its certificate.
func webDate(ctx context.Context, dialer *net.Dialer, to netip.AddrPort, name string) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	secure := tls.Dialer{NetDialer: dialer, Config: &tls.Config{ServerName: name, InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}}
	conn, err := secure.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return time.Time{}, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(connectTime)); err != nil {
		return time.Time{}, err
	}
	ask, err := http.NewRequestWithContext(ctx, http.MethodHead, "https://"+name+"/", nil)
	if err != nil {
		return time.Time{}, err
	}
	ask.Close = true
	if err := ask.Write(conn); err != nil {
		return time.Time{}, err
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), ask)
	if err != nil {
		return time.Time{}, err
	}
	answer.Body.Close()
	return http.ParseTime(answer.Header.Get("Date"))
}
