package errno_test

import (
	"errors"
	"net"
	"testing"

	"github.com/mpsocks/mpsocks/mux/errno"
)

// What sockets of this system give is what the names say.
func TestSocketsGiveThem(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := net.Listen("tcp4", l.Addr().String()); !errors.Is(err, errno.AddrInUse) {
		t.Errorf("an address that is taken: %v", err)
		if err == nil {
			again.Close()
		}
	}
	near, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = far.(*net.TCPConn).SetLinger(0)
	far.Close()
	if _, err := near.Read(make([]byte, 1)); !errors.Is(err, errno.Reset) {
		t.Errorf("a connection that was reset: %v", err)
	}
	near.Close()
	l.Close()
	if conn, err := net.Dial("tcp4", l.Addr().String()); !errors.Is(err, errno.Refused) {
		t.Errorf("a port that nobody has: %v", err)
		if err == nil {
			conn.Close()
		}
	}
	if l, err := net.Listen("tcp4", "192.0.2.77:0"); !errors.Is(err, errno.AddrNotAvail) {
		t.Errorf("an address that nobody has: %v", err)
		if err == nil {
			l.Close()
		}
	}
	udp, err := net.Dial("udp4", "127.0.0.1:9")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	if _, err := udp.Write(make([]byte, 65536)); !errors.Is(err, errno.TooLong) {
		t.Errorf("a datagram that is too long: %v", err)
	}
}
