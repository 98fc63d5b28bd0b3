package sockdiag

import (
	"net"
	"net/netip"
	"os"
	"testing"
)

func TestSocketOwner(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		ln, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			t.Log(err)
			continue
		}
		defer ln.Close()
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		uid, ok := TCPOwner(conn.LocalAddr().(*net.TCPAddr).AddrPort(), ln.Addr().(*net.TCPAddr).AddrPort())
		if !ok || int(uid) != os.Getuid() {
			t.Errorf("tcp %s: %d, %v", host, uid, ok)
		}
		if uid, ok = TCPOwner(ln.Addr().(*net.TCPAddr).AddrPort(), netip.AddrPortFrom(netip.MustParseAddr(host), 1)); ok {
			t.Errorf("tcp %s: an end that there is not is that of who listens here, %d", host, uid)
		}
		udp, err := net.ListenPacket("udp", ":0") // both families, as many programs do
		if err != nil {
			t.Fatal(err)
		}
		defer udp.Close()
		local, remote := conn.LocalAddr().(*net.TCPAddr).AddrPort(), ln.Addr().(*net.TCPAddr).AddrPort()
		local = netipAddrPort(local, udp.LocalAddr().(*net.UDPAddr).Port)
		uid, ok = UDPOwner(local, remote)
		if !ok || int(uid) != os.Getuid() {
			t.Errorf("udp %s: %d, %v", host, uid, ok)
		}
		udp.Close()
		if _, ok = UDPOwner(local, remote); ok {
			t.Errorf("udp %s: a closed socket has an owner", host)
		}
	}
}

func netipAddrPort(a netip.AddrPort, port int) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr(), uint16(port))
}
