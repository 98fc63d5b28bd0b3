package mux

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/mux/handshake"
)

// helloOf is what a TLS client says first.
func helloOf(f *testing.F, cfg *tls.Config) []byte {
	f.Helper()
	near, far := net.Pipe()
	defer far.Close()
	go func() { // until the pipe ends
		_ = tls.Client(near, cfg).Handshake()
		near.Close()
	}()
	b := make([]byte, 16<<10)
	n, err := far.Read(b)
	if err != nil {
		f.Fatal(err)
	}
	return b[:n]
}

// FuzzStranger says anything to a server behind a cover: whoever does not prove a client's
// key is answered by the web server, which gets every byte as it came; and a proof is
// good once.
func FuzzStranger(f *testing.F) {
	serverKey := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, 32))
	clientKey := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{2}, 32))
	web, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	heard := make(chan []byte, 1)
	go func() { // until web is closed
		for {
			conn, err := web.Accept()
			if err != nil {
				return
			}
			b, _ := io.ReadAll(conn)
			heard <- b
			_, _ = io.WriteString(conn, "a web site")
			conn.Close()
		}
	}()
	cover := Cover{Upstream: web.Addr().String(), ALPN: []string{"h2", "http/1.1"}, ServerName: "www.example.org"}
	l, err := Listen(ListenerConfig{
		Key: serverKey, Clients: map[[32]byte]string{[32]byte(clientKey.Public().(ed25519.PublicKey)): "test"}, Cover: cover,
		Accept: func(*Session) (Handler, error) { return newCollector(), nil }, Log: zerolog.Nop(),
	})
	if err != nil {
		f.Fatal(err)
	}
	door, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	ctx, end := context.WithCancel(context.Background())
	l.ctx = ctx
	go func() { // until door is closed; without the rate of connections of an address
		for {
			conn, err := door.Accept()
			if err != nil {
				return
			}
			l.admit(ctx, conn)
		}
	}()
	f.Cleanup(func() {
		end()
		door.Close()
		web.Close()
		l.tasks.Wait()
	})

	greet := func(key ed25519.PrivateKey, server ed25519.PrivateKey) []byte {
		g, err := handshake.NewGreeter(key, Cover{ALPN: cover.ALPN, ServerName: cover.ServerName}, server.Public().(ed25519.PublicKey))
		if err != nil {
			f.Fatal(err)
		}
		cfg, _ := g.Config(time.Now())
		return helloOf(f, cfg)
	}
	proof := greet(clientKey, serverKey)
	f.Add(proof)
	f.Add(proof) // again
	f.Add(proof[:len(proof)/2])
	f.Add(append(bytes.Clone(proof), 0x14, 3, 3, 0, 1, 1))
	f.Add(append(append(append(bytes.Clone(proof[:3]), 0, 100), proof[5:105]...), proof[:5]...)) // in records
	f.Add(greet(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{3}, 32)), serverKey))
	f.Add(greet(clientKey, ed25519.NewKeyFromSeed(bytes.Repeat([]byte{4}, 32))))
	f.Add(helloOf(f, &tls.Config{ServerName: "www.example.org"}))
	f.Add(helloOf(f, &tls.Config{ServerName: "www.example.org", MaxVersion: tls.VersionTLS12}))
	f.Add([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
	f.Add([]byte("\x16\x03\x01\x00\x05hello"))
	f.Add([]byte("\x16\x03\x01\xff\xff\x01\x00\xff\xfa\x03\x03"))
	f.Add([]byte("SSH-2.0-x\r\n"))
	f.Add([]byte{})
	taken := 0
	f.Fuzz(func(t *testing.T, said []byte) {
		n := rand.Uint32() // one address has too few ports for so many connections
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, byte(n>>16), byte(n>>8), byte(n)|1)}}
		c, err := d.Dial("tcp", door.Addr().String())
		if err != nil {
			t.Skip(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		_, _ = c.Write(said)
		_ = c.(*net.TCPConn).CloseWrite()
		answer, err := io.ReadAll(c)
		if len(answer) > 0 && answer[0] == 0x16 { // TLS: the server's own
			if taken++; taken > 1 {
				t.Fatalf("a proof is good %d times", taken)
			}
			return
		}
		if string(answer) != "a web site" {
			t.Fatalf("answered by % x, %v", answer, err)
		}
		if b := <-heard; !bytes.Equal(b, said) {
			t.Errorf("the web server got % x, and not % x", b, said)
		}
	})
}
