//go:build linux && !mpsocks_portable

package client

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// TestTOS has DSCP and ECN of an application's datagram travel with it, and those of
// the answer be on the datagram that the application gets: at an association and at
// a forward, of both families, and when the two halves of the way have different
// ones.
func TestTOS(t *testing.T) {
	const up, down = 46<<2 | 2, 34<<2 | 1 // EF with ECT(0), AF41 with ECT(1)
	for _, host := range []string{"127.0.0.1", "::1"} {
		for _, forwarded := range []bool{false, true} {
			f := &fakeTunnel{answer: func(h packet.UDP, payload []byte) [][]byte {
				h.TOS = down
				return [][]byte{respond(h, payload)}
			}}
			addr := netip.MustParseAddr(host)
			c := start(t, f, func(cfg *conf.Client) {
				cfg.Listen = []netip.AddrPort{netip.AddrPortFrom(addr, 0)}
				cfg.Forwards = []conf.Forward{{Listen: conf.EndpointOf(netip.AddrPortFrom(addr, 0)), To: "192.0.2.1:7"}}
			})
			conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(host)})
			if err != nil {
				t.Skip(err)
			}
			defer conn.Close()
			to, datagram := c.front.forwards()[0].address(), datagram(0, "192.0.2.1:7", []byte("x"))
			if forwarded {
				datagram = []byte("x")
			} else {
				control := dial(t, c)
				reply := talk(t, control, []byte("\x05\x01\x00\x05\x03\x00\x01\x00\x00\x00\x00\x00\x00"), map[bool]int{true: 12, false: 24}[addr.Is4()])
				to = netip.AddrPortFrom(addr, uint16(reply[len(reply)-2])<<8|uint16(reply[len(reply)-1]))
			}
			conn.SetReadDeadline(time.Now().Add(20 * time.Second))
			var got int
			if addr.Is4() {
				p := ipv4.NewPacketConn(conn)
				if err := setTOS(conn, up, false); err != nil {
					t.Fatal(err)
				}
				conn.WriteToUDPAddrPort(datagram, to)
				m := []ipv4.Message{{Buffers: [][]byte{make([]byte, 100)}, OOB: make([]byte, 100)}}
				if _, err := p.ReadBatch(m, 0); err != nil {
					t.Fatal(err)
				}
				got = tosOf(m[0].OOB[:m[0].NN])
			} else {
				p := ipv6.NewPacketConn(conn)
				if err := setTOS(conn, up, true); err != nil {
					t.Fatal(err)
				}
				conn.WriteToUDPAddrPort(datagram, to)
				m := []ipv6.Message{{Buffers: [][]byte{make([]byte, 100)}, OOB: make([]byte, 100)}}
				if _, err := p.ReadBatch(m, 0); err != nil {
					t.Fatal(err)
				}
				got = tosOf(m[0].OOB[:m[0].NN])
			}
			if h := f.sent()[0]; h.TOS != up {
				t.Errorf("%s, forwarded %v: %#x went into the tunnel, want %#x", host, forwarded, h.TOS, up)
			}
			if got != down {
				t.Errorf("%s, forwarded %v: the application got %#x, want %#x", host, forwarded, got, down)
			}
		}
	}
}

// setTOS sets the TOS or Traffic Class of what a socket sends, and asks for that of
// what it receives.
func setTOS(conn *net.UDPConn, tos int, six bool) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		if six {
			failed = errors.Join(unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_TCLASS, tos),
				unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, 1))
			return
		}
		failed = errors.Join(unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TOS, tos),
			unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_RECVTOS, 1))
	})
	return errors.Join(err, failed)
}

// tosOf finds the TOS or Traffic Class among the control messages; -1 is none.
func tosOf(oob []byte) int {
	list, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return -1
	}
	for _, m := range list {
		switch {
		case m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_TOS:
			return int(m.Data[0])
		case m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_TCLASS:
			return int(binary.NativeEndian.Uint32(m.Data))
		}
	}
	return -1
}
