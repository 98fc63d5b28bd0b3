package interop

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"github.com/txthinking/socks5"

	"github.com/mpsocks/mpsocks/mux/muxtest"
)

// TestTxthinking uses the client of txthinking/socks5 over TCP and UDP, IPv4
// and IPv6.
func TestTxthinking(t *testing.T) {
	for _, c := range []struct{ name, network, host string }{
		{"IPv4", "4", "127.0.0.1:0"}, {"IPv6", "6", "[::1]:0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.network == "6" && !muxtest.HasIPv6() {
				t.Skip("this machine has no IPv6 loopback")
			}
			client, err := socks5.NewClient(pair.Proxy(), "", "", 20, 20)
			if err != nil {
				t.Fatal(err)
			}
			data, _ := noise(1 << 20)
			tcp, err := client.Dial("tcp", tcpEcho(t, "tcp"+c.network, c.host))
			if err != nil {
				t.Fatal(err)
			}
			defer tcp.Close()
			go func() { // ends with the connection
				_, _ = tcp.Write(data) // what is missing is missing in the answer
				_ = tcp.(*socks5.Client).TCPConn.(*net.TCPConn).CloseWrite()
			}()
			got, err := io.ReadAll(tcp)
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("TCP: %d of %d bytes came back, %v", len(got), len(data), err)
			}

			client, err = socks5.NewClient(pair.Proxy(), "", "", 20, 20)
			if err != nil {
				t.Fatal(err)
			}
			udp, err := client.Dial("udp", udpEcho(t, "udp"+c.network, c.host))
			if err != nil {
				t.Fatal(err)
			}
			defer udp.Close()
			for _, size := range []int{1, 512, 1472, 20000} {
				if !bytes.Equal(echoed(t, udp, data[:size]), data[:size]) {
					t.Errorf("UDP: %d bytes came back different", size)
				}
			}
		})
	}
}

// echoed sends a datagram and returns the answer. UDP may lose one: it is sent
// three times at most.
func echoed(t *testing.T, c net.Conn, data []byte) []byte {
	t.Helper()
	b := make([]byte, 65536)
	for range 3 {
		if _, err := c.Write(data); err != nil {
			t.Fatal(err)
		}
		_ = c.SetReadDeadline(time.Now().Add(3 * time.Second))
		if n, err := c.Read(b); err == nil {
			return b[:n]
		}
	}
	t.Fatalf("no answer to %d bytes", len(data))
	return nil
}
