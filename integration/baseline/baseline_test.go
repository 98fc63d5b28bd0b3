package baseline

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"
)

func TestFrames(t *testing.T) {
	var wire []byte
	for _, a := range []string{"192.0.2.1:53", "[2001:db8::1]:443"} {
		wire, _ = appendFrame(wire, 7, netip.MustParseAddrPort(a), []byte("hello"))
	}
	if _, ok := appendFrame(nil, 1, netip.MustParseAddrPort("192.0.2.1:1"), make([]byte, maxFrame)); ok {
		t.Error("a frame longer than its length was made")
	}
	r := bufio.NewReader(bytes.NewReader(wire))
	buf := make([]byte, maxFrame)
	for _, want := range []string{"192.0.2.1:53", "[2001:db8::1]:443"} {
		id, a, payload, err := readFrame(r, buf)
		if err != nil || id != 7 || a.String() != want || string(payload) != "hello" {
			t.Errorf("%d %s %q %v, want %s", id, a, payload, err, want)
		}
	}
	if _, _, _, err := readFrame(r, buf); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
}

func FuzzReadFrame(f *testing.F) {
	wire, _ := appendFrame(nil, 7, netip.MustParseAddrPort("192.0.2.1:53"), []byte("hello"))
	f.Add(wire)
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bufio.NewReader(bytes.NewReader(b))
		buf := make([]byte, maxFrame)
		for {
			id, a, payload, err := readFrame(r, buf)
			if err != nil {
				return
			}
			if again, ok := appendFrame(nil, id, a, payload); !ok || len(again) > len(b) {
				t.Errorf("%d bytes became %d", len(b), len(again))
			}
		}
	})
}

// TestBothHalves echoes a datagram and a stream through them on loopback.
func TestBothHalves(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	server, proxy := netip.MustParseAddrPort("127.0.0.1:27444"), netip.MustParseAddrPort("127.0.0.1:27080")
	ended := make(chan error, 2)
	go func() { ended <- Serve(ctx, server) }()
	go func() {
		for ctx.Err() == nil { // until the server listens
			if err := Client(ctx, proxy, server); ctx.Err() == nil {
				t.Log(err)
				time.Sleep(20 * time.Millisecond)
			}
		}
		ended <- nil
	}()
	defer func() { cancel(); <-ended; <-ended }()

	echo, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer echo.Close()
	go func() {
		b := make([]byte, 100)
		if n, from, err := echo.ReadFrom(b); err == nil {
			echo.WriteTo(b[:n], from)
		}
	}()
	var c net.Conn
	for range 100 {
		if c, err = net.Dial("tcp", proxy.String()); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	c.Write([]byte{5, 1, 0, 5, 3, 0, 1, 0, 0, 0, 0, 0, 0})
	b := make([]byte, 12)
	if _, err := io.ReadFull(c, b); err != nil {
		t.Fatal(err)
	}
	relay, _, err := splitAddr(b[5:])
	if err != nil {
		t.Fatal(err)
	}
	u, err := net.Dial("udp", relay.String())
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	u.SetDeadline(time.Now().Add(5 * time.Second))
	want := append(appendAddr([]byte{0, 0, 0}, netip.MustParseAddrPort(echo.LocalAddr().String())), "hello"...)
	u.Write(want)
	got := make([]byte, 100)
	n, err := u.Read(got)
	if err != nil || !bytes.Equal(got[:n], want) {
		t.Errorf("datagram came back as %q, %v, want %q", got[:n], err, want)
	}
}
