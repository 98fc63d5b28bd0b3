package client

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"

	"github.com/mpsocks/mpsocks/mux/packet"
)

// count is how many datagrams went to an address.
func (f *fakeTunnel) count(to string) (n int) {
	for _, h := range f.sent() {
		if h.Dst == netip.MustParseAddrPort(to) {
			n++
		}
	}
	return n
}

// TestLastWords has applications send and end their association at once, as those do that want no
// answer: all goes that was sent before. (Whose a socket was that is closed too is not known, unless its
// port was announced.)
func TestLastWords(t *testing.T) {
	const to = "192.0.2.4:7"
	t.Run("at once", func(t *testing.T) {
		f := &fakeTunnel{}
		c := start(t, f, nil)
		const rounds, each = 50, 5
		for range rounds {
			conn, relay := associated(t, c, anywhere)
			a := newApp(t, "127.0.0.1", relay)
			for range each {
				a.send(t, datagram(0, to, []byte("bye")))
			}
			conn.Close()
		}
		eventually(t, "the associations have ended", func() bool { return c.Status().Associations == 0 })
		if n := f.count(to); n != rounds*each {
			t.Errorf("%d of %d datagrams went", n, rounds*each)
		}
	})
	t.Run("of an announced socket that is closed", func(t *testing.T) {
		f := &fakeTunnel{}
		c := start(t, f, nil)
		const rounds, each = 50, 5
		for range rounds {
			a := newApp(t, "127.0.0.1", netip.AddrPort{})
			var conn *net.TCPConn
			conn, a.relay = associated(t, c, netip.MustParseAddrPort(a.LocalAddr().String()))
			for range each {
				a.send(t, datagram(0, to, []byte("bye")))
			}
			a.Close()
			conn.Close()
		}
		eventually(t, "the associations have ended", func() bool { return c.Status().Associations == 0 })
		if n := f.count(to); n != rounds*each {
			t.Errorf("%d of %d datagrams went", n, rounds*each)
		}
	})
	t.Run("to a name", func(t *testing.T) {
		z := &zone{ttl: 300, addrs: map[string][]string{"four.test": {"192.0.2.4"}}}
		z.mute.Store(true)
		f := &fakeTunnel{answer: z.answer}
		c := start(t, f, nil)
		conn, relay := associated(t, c, anywhere)
		newApp(t, "127.0.0.1", relay).send(t, datagram(0, "four.test:7", []byte("bye")))
		eventually(t, "the name is asked for", func() bool { return z.count("four.test") > 0 })
		conn.Close()
		z.mute.Store(false) // until it is asked again
		eventually(t, "the association has ended", func() bool { return c.Status().Associations == 0 })
		if n := f.count(to); n != 1 {
			t.Errorf("%d datagrams went", n)
		}
	})
	t.Run("to a name, in a stream", func(t *testing.T) {
		z := &zone{ttl: 300, addrs: map[string][]string{"four.test": {"192.0.2.4"}}}
		z.mute.Store(true)
		f := &fakeTunnel{answer: z.answer}
		c := start(t, f, nil)
		conn := dial(t, c)
		b := append([]byte{5, 1, 0, 5, 1, 0, 3, byte(len(uotLegacyHost))}, uotLegacyHost...)
		b = append(b, 0, 0)
		b = append(append(b, uotName, byte(len("four.test"))), "four.test"...)
		b = binary.BigEndian.AppendUint16(b, 7)
		b = append(binary.BigEndian.AppendUint16(b, 3), "bye"...)
		talk(t, conn, b, 12)
		eventually(t, "the name is asked for", func() bool { return z.count("four.test") > 0 })
		conn.Close()
		z.mute.Store(false)
		eventually(t, "the association has ended", func() bool { return c.Status().Associations == 0 })
		if n := f.count(to); n != 1 {
			t.Errorf("%d datagrams went", n)
		}
	})
	t.Run("from a new port", func(t *testing.T) {
		f := &fakeTunnel{answer: func(h packet.UDP, payload []byte) [][]byte { return echo(h, payload) }}
		c := start(t, f, nil)
		conn, relay := associated(t, c, anywhere)
		newApp(t, "127.0.0.1", relay).echoes(t, "192.0.2.1:7", []byte("old"))
		newApp(t, "127.0.0.1", relay).send(t, datagram(0, to, []byte("bye")))
		conn.Close()
		eventually(t, "the association has ended", func() bool { return c.Status().Associations == 0 })
		if n := f.count(to); n != 1 {
			t.Errorf("%d datagrams went", n)
		}
	})
}
