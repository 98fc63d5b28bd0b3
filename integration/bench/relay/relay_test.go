//go:build linux

package relay

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mpsocks/mpsocks/integration/bench/socks"
)

// TestLink sends frames through a socket pair, in pieces of every length.
func TestLink(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	out, err := newLink(fds[0])
	if err != nil {
		t.Fatal(err)
	}
	in, err := newLink(fds[1])
	if err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		out.put(uint16(i), []byte("head"), bytes.Repeat([]byte{byte(i)}, i))
	}
	wire := bytes.Clone(out.out)
	out.out = out.out[:0]
	got := 0
	for n := 1; len(wire) > 0; n++ {
		n = min(n, len(wire))
		if _, err := unix.Write(fds[0], wire[:n]); err != nil {
			t.Fatal(err)
		}
		wire = wire[n:]
		if more, err := in.fill(); !more || err != nil {
			t.Fatal(more, err)
		}
		for {
			id, data, ok := in.next()
			if !ok {
				break
			}
			want := append([]byte("head"), bytes.Repeat([]byte{byte(got)}, got)...)
			if int(id) != got || !bytes.Equal(data, want) {
				t.Fatalf("frame %d is %d, % x", got, id, data)
			}
			got++
		}
	}
	if got != 50 {
		t.Errorf("%d frames, want 50", got)
	}
}

// TestRelay runs both halves in goroutines, which nothing can end but the
// test's process: they are meant to be processes.
func TestRelay(t *testing.T) {
	server, client := make(chan netip.AddrPort), make(chan netip.AddrPort)
	go Server(func(a netip.AddrPort) { server <- a })
	go Client(<-server, func(a netip.AddrPort) { client <- a })
	d := socks.Dialer{Proxy: (<-client).String()}
	echo, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer echo.Close()
	for range 3 { // the number of an ended association is used again
		control, relay, err := d.Associate()
		if err != nil {
			t.Fatal(err)
		}
		conn, err := net.Dial("udp", relay.String())
		if err != nil {
			t.Fatal(err)
		}
		request, err := socks.AppendDatagram(nil, echo.LocalAddr().String(), []byte("there"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(request); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 2048)
		_ = echo.SetReadDeadline(time.Now().Add(3 * time.Second))
		n, from, err := echo.ReadFromUDP(b)
		if err != nil || string(b[:n]) != "there" {
			t.Fatalf("%q, %v", b[:n], err)
		}
		if _, err := echo.WriteToUDP([]byte("and back"), from); err != nil {
			t.Fatal(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(3 * time.Second))
		n, err = conn.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		source, payload, err := socks.ParseDatagram(b[:n])
		if err != nil || string(payload) != "and back" || source.String() != echo.LocalAddr().String() {
			t.Errorf("%q from %s, %v", payload, source, err)
		}
		_ = conn.Close()
		_ = control.Close()
	}
}

// TestTLS relays bytes and both ends of a half-closed connection.
func TestTLS(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() { // ends with the listener
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b, _ := io.ReadAll(c) // what is missing fails the comparison
			_, _ = c.Write(b)
			_ = c.Close()
		}
	}()
	server, client := make(chan netip.AddrPort), make(chan netip.AddrPort)
	go TLSServer(l.Addr().(*net.TCPAddr).AddrPort(), func(a netip.AddrPort) { server <- a })
	go TLSClient(<-server, func(a netip.AddrPort) { client <- a })
	c, err := net.Dial("tcp", (<-client).String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	want := bytes.Repeat([]byte("through TLS "), 10_000)
	if _, err := c.Write(want); err != nil {
		t.Fatal(err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, %v, want %d", len(got), err, len(want))
	}
}
