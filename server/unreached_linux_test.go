//go:build linux && !mpsocks_portable

package server

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mpsocks/mpsocks/mux/packet"
)

// A datagram to a closed port, to where the rules do not let it, or with no time left is
// told of, and the mapping goes on.
func TestUnreached(t *testing.T) {
	for _, f := range []struct {
		host    string
		from    netip.AddrPort
		refused netip.AddrPort
		server  netip.Addr
	}{
		{"127.0.0.1", inner4(7), netip.AddrPortFrom(private, 53), packet.ServerHost4},
		{"::1", inner6(7), netip.MustParseAddrPort("[fd00::1]:53"), packet.ServerHost6},
	} {
		s := testServer(t, nil, nil)
		sess := newFakeSession()
		p := newPeer(s, "laptop", sess)
		gone, closed := remoteUDP(t, f.host)
		gone.Close()
		open, at := remoteUDP(t, f.host)
		four := f.from.Addr().Is4()
		want := packet.Failure{From: closed.Addr(), To: f.from.Addr(), Proto: packet.ProtoUDP, Src: f.from, Dst: closed}
		want.NoPort(four)
		p.Deliver([][]byte{makePacket(f.from, closed, 0, 0, []byte("x"))})
		check := func() {
			t.Helper()
			var got packet.Failure
			if err := packet.ParseFailure(sess.nextICMP(t), &got); err != nil || got != want {
				t.Errorf("told %+v, %v; want %+v", got, err, want)
			}
		}
		check()
		want.From, want.Dst = f.server, f.refused
		want.Prohibited(four)
		p.Deliver([][]byte{makePacket(f.from, f.refused, 0, 0, []byte("x"))})
		check()
		late := makePacket(f.from, at, 0, 0, []byte("late"))
		packet.SetTTL(late, 1)
		want.Dst = at
		want.Expired(four)
		p.Deliver([][]byte{late})
		check()
		p.Deliver([][]byte{makePacket(f.from, at, 0, 0, []byte("on"))})
		if text, _ := read(t, open); text != "on" {
			t.Errorf("got %q", text)
		}
		// A flood of refusals is not told one by one.
		flood := make([][]byte, 10*failureBurst)
		for i := range flood {
			flood[i] = makePacket(f.from, f.refused, 0, 0, []byte("x"))
		}
		p.Deliver(flood)
		sess.mu.Lock()
		if n := len(sess.icmp); n > 2*failureBurst {
			t.Errorf("told of %d of %d", n, len(flood))
		}
		sess.mu.Unlock()
	}
}

// The time to live goes along: what a program sends with another one than everybody's
// arrives with one less, and an answer goes back with the one that it came with.
func TestTTL(t *testing.T) {
	for _, f := range []struct {
		host                    string
		from                    netip.AddrPort
		level, receive, unicast int
	}{
		{"127.0.0.1", inner4(7), unix.IPPROTO_IP, unix.IP_RECVTTL, unix.IP_TTL},
		{"::1", inner6(7), unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, unix.IPV6_UNICAST_HOPS},
	} {
		s := testServer(t, nil, nil)
		sess := newFakeSession()
		p := newPeer(s, "laptop", sess)
		remote, at := remoteUDP(t, f.host)
		set := func(option, value int) {
			raw, err := remote.SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			if ctl := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), f.level, option, value) }); ctl != nil || err != nil {
				t.Fatal(ctl, err)
			}
		}
		set(f.receive, 1)
		_ = remote.SetDeadline(time.Now().Add(20 * time.Second))
		for _, ttl := range []uint8{2, 5, 128, 255, 64} {
			pkt := makePacket(f.from, at, 46<<2, 0, []byte{ttl})
			packet.SetTTL(pkt, ttl)
			p.Deliver([][]byte{pkt})
			b, oob := make([]byte, 100), make([]byte, 100)
			_, n, _, back, err := remote.ReadMsgUDPAddrPort(b, oob)
			if err != nil {
				t.Fatal(err)
			}
			want := ttl - 1
			if ttl == hopLimit {
				want = systemTTL(t, f.host)
			}
			if _, got := numbers(oob[:n]); got != want {
				t.Errorf("%s: %d left as %d, want %d", f.host, ttl, got, want)
			}
			set(f.unicast, int(ttl))
			if _, err := remote.WriteToUDPAddrPort(b[:1], back); err != nil {
				t.Fatal(err)
			}
			if g := sess.next(t); g.ttl != ttl {
				t.Errorf("%s: an answer with %d came in with %d", f.host, ttl, g.ttl)
			}
		}
	}
}

// systemTTL is what this system's sockets send with.
func systemTTL(t *testing.T, host string) uint8 {
	t.Helper()
	c, err := net.ListenPacket("udp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	raw, err := c.(*net.UDPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	_ = raw.Control(func(fd uintptr) {
		if n, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TTL); host == "::1" {
			n, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return uint8(n)
}
