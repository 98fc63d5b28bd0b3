package admin

import (
	"io"
	"net"
	"strings"
	"testing"

	"github.com/mpsocks/mpsocks/status"
)

// A client serves a PAC file with its own SOCKS5 port; a server has none.
func TestPAC(t *testing.T) {
	s := start(t, nil)
	resp, err := s.ask("GET", "/proxy.pac", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got := resp.Header.Get("Content-Type"); got != "application/x-ns-proxy-autoconfig" {
		t.Errorf("it is %s", got)
	}
	if _, body := s.get("/proxy.pac", nil); !strings.Contains(body, `"SOCKS5 127.0.0.1:1080; SOCKS 127.0.0.1:1080"`) || !strings.Contains(body, "function FindProxyForURL(url, host)") {
		t.Error(body)
	}
	everywhere := start(t, func(c *Config) {
		c.Status = func() *status.Status { st := aStatus(); st.Listen = []string{"[::]:1081"}; return st }
	})
	if _, body := everywhere.get("/proxy.pac", nil); !strings.Contains(body, "SOCKS5 127.0.0.1:1081") {
		t.Error(body)
	}
	// What is asked as is no part of the script but an address.
	c, err := net.Dial("tcp", everywhere.Addrs()[0].Addr.String()) // a client of net/http leaves zones out
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "GET /proxy.pac HTTP/1.1\r\nHost: [fe80::1%;SOCKS5.evil.example:1;x]:80\r\nConnection: close\r\n\r\n")
	body, err := io.ReadAll(c)
	if err != nil || strings.Contains(string(body), "evil") || !strings.Contains(string(body), `"SOCKS5 [fe80::1]:1081; SOCKS [fe80::1]:1081"`) {
		t.Errorf("%s, %v", body, err)
	}
	server := start(t, func(c *Config) {
		c.Status = func() *status.Status { st := aStatus(); st.Half = status.Server; return st }
	})
	if code, _ := server.get("/proxy.pac", nil); code != 404 {
		t.Errorf("a server answers %d", code)
	}
}
