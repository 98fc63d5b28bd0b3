//go:build linux && !mpsocks_portable

package server

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestTOS carries DSCP and ECN through, which only Linux's sockets tell.
func TestTOS(t *testing.T) {
	s := testServer(t, nil, nil)
	sess := newFakeSession()
	p := newPeer(s, "laptop", sess)
	// One mapping sends to another one: both sides of the server carry it.
	p.Deliver([][]byte{makePacket(inner4(1), netip.MustParseAddrPort("127.0.0.1:9"), 0, 0, nil)})
	key, _ := innerKey(inner4(1))
	p.nat.mu.RLock()
	port := p.nat.mappings[key].conn.LocalAddr().Port()
	p.nat.mu.RUnlock()
	const ef = 46<<2 | 2 // with ECT(0)
	p.Deliver([][]byte{makePacket(inner4(2), netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port), ef, 0, []byte("a"))})
	if g := sess.next(t); g.tos != ef || g.dst != inner4(1) {
		t.Errorf("got %+v", g)
	}
}

// TestTOSOnTheWire: DSCP and ECN of the inner packet are those of the datagram that
// leaves, and those of the answer are on the packet that goes back.
func TestTOSOnTheWire(t *testing.T) {
	for _, tt := range []struct {
		host                   string
		inner                  netip.AddrPort
		level, receive, option int
	}{
		{"127.0.0.1", inner4(7), unix.IPPROTO_IP, unix.IP_RECVTOS, unix.IP_TOS},
		{"::1", inner6(7), unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, unix.IPV6_TCLASS},
	} {
		t.Run(tt.host, func(t *testing.T) {
			s := testServer(t, nil, nil)
			sess := newFakeSession()
			p := newPeer(s, "laptop", sess)
			remote, at := remoteUDP(t, tt.host)
			set := func(option, value int) {
				raw, err := remote.SyscallConn()
				if err != nil {
					t.Fatal(err)
				}
				if ctlErr := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), tt.level, option, value) }); ctlErr != nil || err != nil {
					t.Fatal(ctlErr, err)
				}
			}
			set(tt.receive, 1)
			_ = remote.SetDeadline(time.Now().Add(20 * time.Second))
			// Best effort, EF with ECT(0), CS1 with ECT(1), AF41 with CE, in one batch each
			// and together.
			values := []uint8{0, 46<<2 | 2, 8<<2 | 1, 34<<2 | 3}
			var batch [][]byte
			for _, tos := range values {
				batch = append(batch, makePacket(tt.inner, at, tos, 0, []byte{tos}))
			}
			for _, pkts := range append([][][]byte{batch}, batch[:1], batch[1:2], batch[2:3], batch[3:]) {
				p.Deliver(pkts)
				for range pkts {
					b, oob := make([]byte, 100), make([]byte, 100)
					n, m, _, from, err := remote.ReadMsgUDPAddrPort(b, oob)
					if err != nil || n != 1 {
						t.Fatalf("%d bytes, %v", n, err)
					}
					if got := tosOf(t, oob[:m]); got != b[0] {
						t.Errorf("%#02x left as %#02x", b[0], got)
					}
					set(tt.option, int(b[0]))
					if _, err := remote.WriteToUDPAddrPort(b[:1], from); err != nil {
						t.Fatal(err)
					}
					if g := sess.next(t); g.tos != b[0] {
						t.Errorf("an answer with %#02x came in as %#02x", b[0], g.tos)
					}
				}
			}
		})
	}
}

// tosOf reads the one control message that says DSCP and ECN.
func tosOf(t *testing.T, oob []byte) uint8 {
	t.Helper()
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(msgs) != 1 || len(msgs[0].Data) == 0 {
		t.Fatalf("control messages %v, %v", msgs, err)
	}
	return msgs[0].Data[0] // of IPv4 it is a byte, of IPv6 a little-endian int
}
