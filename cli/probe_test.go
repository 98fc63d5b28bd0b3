package cli

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
)

// tinyProxy is a SOCKS5 proxy of a few lines, after RFC 1928: it echoes every
// datagram and accepts every CONNECT, unless it is told to fail.
type tinyProxy struct {
	refuse byte // the reply code to every request
	login  bool // asks for ann and secret
	silent bool // relays nothing
}

func (p tinyProxy) start(t *testing.T) (address string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(c)
		}
	}()
	return l.Addr().String()
}

func (p tinyProxy) serve(c net.Conn) {
	defer c.Close()
	b := make([]byte, 512)
	read := func(n int) []byte {
		io.ReadFull(c, b[:n])
		return b[:n]
	}
	read(int(read(2)[1]))
	if p.login {
		c.Write([]byte{5, 2})
		user := string(read(int(read(2)[1])))
		word := string(read(int(read(1)[0])))
		if user != "ann" || word != "secret" {
			c.Write([]byte{1, 1})
			return
		}
		c.Write([]byte{1, 0})
	} else {
		c.Write([]byte{5, 0})
	}
	head := read(4)
	command := head[1]
	switch head[3] {
	case 1:
		read(6)
	case 3:
		read(int(read(1)[0]) + 2)
	case 4:
		read(18)
	}
	if p.refuse != 0 {
		c.Write([]byte{5, p.refuse, 0, 1, 0, 0, 0, 0, 0, 0})
		return
	}
	if command == socksConnect {
		c.Write([]byte{5, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 9})
		io.Copy(c, c)
		return
	}
	u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		return
	}
	defer u.Close()
	reply := []byte{5, 0, 0, 1, 0, 0, 0, 0} // an unspecified host means this one
	c.Write(binary.BigEndian.AppendUint16(reply, u.LocalAddr().(*net.UDPAddr).AddrPort().Port()))
	go func() {
		b := make([]byte, 1<<16)
		for {
			n, from, err := u.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			if !p.silent {
				u.WriteToUDPAddrPort([]byte{0, 0, 0}, from) // a bad one first
				u.WriteToUDPAddrPort(b[:n], from)
			}
		}
	}()
	io.Copy(io.Discard, c)
}

func TestProbe(t *testing.T) {
	for _, tt := range []struct {
		name  string
		proxy tinyProxy
		args  []string
		code  int
		want  []string
	}{
		{"works", tinyProxy{}, nil, 0, []string{"CONNECT example.com:443: works, 5 of 5; set-up min ", "UDP 198.18.0.1:7: works, 5 of 5 came back"}},
		{"names and v6", tinyProxy{}, []string{"--udp", "[2001:db8::1]:7", "--tcp", "[::1]:80"}, 0, []string{"CONNECT [::1]:80: works", "UDP [2001:db8::1]:7: works"}},
		{"login", tinyProxy{login: true}, []string{"--user", "ann", "--password", "secret"}, 0, []string{"works", "works"}},
		{"wrong password", tinyProxy{login: true}, []string{"--user", "ann", "--password", "x"}, 1, []string{"refuses this name and password", "refuses this name and password"}},
		{"refused", tinyProxy{refuse: 7}, nil, 1, []string{"answered 7, command not supported", "UDP ASSOCIATE: the proxy answered 7"}},
		{"silent", tinyProxy{silent: true}, []string{"--timeout", "50ms"}, 1, []string{"CONNECT example.com:443: works", "nothing came back by the relay", "only an mpsocks server echoes there"}},
		{"one half", tinyProxy{silent: true}, []string{"--udp", ""}, 0, []string{"CONNECT example.com:443: works"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			args := append([]string{"probe", "--count", "5", "--proxy", tt.proxy.start(t)}, tt.args...)
			stdout, stderr, code := command(t, args...)
			if code != tt.code || stderr != "" {
				t.Errorf("exit %d, %s", code, stderr)
			}
			rest := stdout
			for _, want := range tt.want {
				i := strings.Index(rest, want)
				if i < 0 {
					t.Fatalf("no %q in\n%s", want, stdout)
				}
				rest = rest[i+len(want):]
			}
		})
	}
}

// TestProbeOfNothing: who forgot to start the client, or has another port, is told so.
func TestProbeOfNothing(t *testing.T) {
	stdout, _, code := command(t, "probe", "--proxy", "127.0.0.1:1")
	if code != 1 || !strings.Contains(stdout, "nothing listens at 127.0.0.1:1: start the client there") {
		t.Errorf("%d %s", code, stdout)
	}
}

func TestProbeOfSomethingElse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n")
			c.Close()
		}
	}()
	stdout, _, code := command(t, "probe", "--proxy", l.Addr().String(), "--udp", "")
	if code != 1 || !strings.Contains(stdout, "this is no SOCKS5 proxy") {
		t.Errorf("%d %s", code, stdout)
	}
}

// FuzzDatagramBody holds that no datagram of a proxy makes the probe panic.
func FuzzDatagramBody(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 1, 2, 3, 4, 0, 7, 'x'})
	f.Add([]byte{0, 0, 0, 3, 1, 'a', 0, 7})
	f.Fuzz(func(t *testing.T, b []byte) {
		if body, ok := datagramBody(b); ok && len(body) > len(b)-7 {
			t.Errorf("%d bytes of body in %d", len(body), len(b))
		}
	})
}
