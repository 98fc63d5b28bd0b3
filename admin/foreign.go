package admin

import (
	"fmt"
	"io"
	"net"
	"time"
)

// The first bytes of SOCKS 4 and 5.
const socks4, socks5 = 4, 5

// foreign answers who does not speak HTTP at an admin address, by the first byte of it, most likely a
// program that was given this port for the proxy's, and says so.
func (s *Server) foreign(c net.Conn, first byte) {
	s.said.Do(func() {
		text := "somebody speaks no HTTP to the admin address"
		if first == socks4 || first == socks5 {
			text = "a program takes the admin address for a SOCKS proxy: it has to be given one of the client's listen"
		}
		s.cfg.Log.Warn().Stringer("admin", c.LocalAddr()).Stringer("from", c.RemoteAddr()).Msg(text)
	})
	_ = c.SetWriteDeadline(time.Now().Add(bodyTime))
	switch first {
	case socks4: // rejected
		_, _ = c.Write([]byte{0, 0x5B, 0, 0, 0, 0, 0, 0})
	case socks5: // no method is acceptable (RFC 1928, Section 3)
		_, _ = c.Write([]byte{socks5, 0xFF})
	default:
		body := "This is the admin address of an mpsocks " + s.cfg.Half + ", which speaks HTTP without TLS.\n"
		_, _ = fmt.Fprintf(c, "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n\r\n", len(body))
		_, _ = io.WriteString(c, body)
	}
}
