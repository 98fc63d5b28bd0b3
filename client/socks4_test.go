package client

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/muxtest"
)

// ask4 is a SOCKS4 request to an address, or a 4A request to a name.
func ask4(command byte, to, user string) []byte {
	host, portText, _ := net.SplitHostPort(to)
	port, _ := net.LookupPort("tcp", portText)
	b := binary.BigEndian.AppendUint16([]byte{4, command}, uint16(port))
	if a, err := netip.ParseAddr(host); err == nil && a.Is4() {
		b = append(append(append(b, a.AsSlice()...), user...), 0)
		return b
	}
	return append(append(append(append(append(b, 0, 0, 0, 7), user...), 0), host...), 0)
}

func TestSocks4(t *testing.T) {
	c := start(t, &fakeTunnel{exit: armonExit(t)}, nil)
	for _, to := range []string{"127.0.0.1", "localhost", "::ffff:127.0.0.1"} {
		request := tcpServer(t, func(conn *net.TCPConn) { io.Copy(conn, conn) })
		port := binary.BigEndian.Uint16(request[len(request)-2:])
		conn := dial(t, c)
		ask := ask4(1, net.JoinHostPort(to, itoa(port)), "me")
		// The data comes with the request, byte by byte.
		for _, b := range append(ask, "hello"...) {
			conn.Write([]byte{b})
		}
		conn.CloseWrite()
		all, err := io.ReadAll(conn)
		if err != nil || len(all) != 8+5 || all[0] != 0 || all[1] != socks4Granted || string(all[8:]) != "hello" {
			t.Errorf("%s: % x, %v", to, all, err)
		}
		if bound := netip.AddrFrom4([4]byte(all[4:8])); to == "127.0.0.1" && bound != netip.MustParseAddr("127.0.0.1") {
			t.Errorf("bound to %s", bound)
		}
	}
}

func TestSocks4Refusals(t *testing.T) {
	port, err := muxtest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	nobody := fmt.Sprintf("127.0.0.1:%d", port)
	for _, tt := range []struct {
		name  string
		in    []byte
		users bool
	}{
		{name: "nobody listens", in: ask4(1, nobody, "")},
		{name: "bind", in: ask4(2, nobody, "")},
		{name: "there are users", in: ask4(1, nobody, "ann"), users: true},
		{name: "a long user", in: ask4(1, nobody, strings.Repeat("u", 300))},
		{name: "a long name", in: ask4(1, strings.Repeat("n", 255)+":80", "")},
		{name: "no name", in: ask4(1, ":80", "")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := start(t, &fakeTunnel{exit: armonExit(t)}, func(cfg *conf.Client) {
				if tt.users {
					cfg.Users = oneUser
				}
			})
			conn := dial(t, c)
			conn.Write(tt.in)
			all, err := io.ReadAll(conn)
			if err != nil || !bytes.Equal(all, []byte{0, socks4Failed, 0, 0, 0, 0, 0, 0}) {
				t.Errorf("% x, %v", all, err)
			}
		})
	}
}

// FuzzSocks4 reads requests: it ends, reads no further than the request, and
// what it returns can be asked of the exit.
func FuzzSocks4(f *testing.F) {
	f.Add(ask4(1, "192.0.2.1:80", "me"))
	f.Add(ask4(1, "example.com:443", ""))
	f.Add(ask4(1, "[2001:db8::1]:443", "x"))
	f.Add([]byte{4, 1, 0, 80, 0, 0, 0, 1, 0})
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bytes.NewReader(append(in, "behind"...))
		q, err := readRequest4(r)
		if err != nil {
			return
		}
		used := len(in) + len("behind") - r.Len()
		if used < 9 || in[0] != 4 {
			t.Fatalf("%d bytes are a request: % x", used, in)
		}
		if q.addr.IsValid() == (q.host != "") || len(q.host) > maxHost+1 {
			t.Fatalf("%+v", q)
		}
		if b := exitRequest(q.host, q.addr, q.port); len(b) < 3+4+2 || len(b) > 3+4+1+255+2 {
			t.Fatalf("% x", b)
		}
	})
}
