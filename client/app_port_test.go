package client

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/client/admission"
	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/udpio"
)

// TestAssociationOfTwoSockets is a program that sends from two sockets in turns, fast or slowly,
// to one destination: each hears its own answers.
func TestAssociationOfTwoSockets(t *testing.T) {
	for _, pause := range []time.Duration{0, 2 * takeoverTime} {
		f := &fakeTunnel{answer: echo}
		c := start(t, f, nil)
		conn, relay := associated(t, c, anywhere)
		a, b := newApp(t, "127.0.0.1", relay), newApp(t, "127.0.0.1", relay)
		a.echoes(t, "192.0.2.1:7", []byte("a"))
		time.Sleep(pause)
		b.send(t, datagram(0, "192.0.2.1:7", []byte("b")))
		time.Sleep(pause)
		for i := range 6 {
			a.echoes(t, "192.0.2.1:7", []byte{'a', byte(i)})
			time.Sleep(pause)
			if i == 0 {
				if _, got := b.receive(t); string(got) != "b" {
					t.Errorf("b hears %q", got)
				}
			}
			b.echoes(t, "192.0.2.1:7", []byte{'b', byte(i)})
			time.Sleep(pause)
		}
		sources := make(map[netip.AddrPort]bool)
		for _, h := range f.sent()[2:] {
			sources[h.Src] = true
		}
		if len(sources) != 2 {
			t.Errorf("they send from %v", sources)
		}
		eventually(t, "all are counted", func() bool { return c.Status().DatagramsUp == uint64(len(f.sent())) })
		conn.Close()
		eventually(t, "the association has gone", func() bool { return c.Status().Associations == 0 })
	}
}

// TestAssociationOfTooManySockets has more sockets speak at once than an association serves.
func TestAssociationOfTooManySockets(t *testing.T) {
	c := start(t, &fakeTunnel{answer: echo}, nil)
	_, relay := associated(t, c, anywhere)
	first := newApp(t, "127.0.0.1", relay)
	first.echoes(t, "192.0.2.1:7", []byte("first"))
	for range maxSiblings {
		s := newApp(t, "127.0.0.1", relay)
		s.send(t, datagram(0, "192.0.2.1:7", []byte("next")))
		eventually(t, "it waits", func() bool { return inUse(c.held) > 0 })
		first.echoes(t, "192.0.2.1:7", []byte("first"))
		if _, got := s.receive(t); string(got) != "next" {
			t.Errorf("it hears %q", got)
		}
	}
	newApp(t, "127.0.0.1", relay).send(t, datagram(0, "192.0.2.1:7", []byte("one too many")))
	eventually(t, "it waits", func() bool { return inUse(c.held) > 0 })
	first.echoes(t, "192.0.2.1:7", []byte("first"))
	eventually(t, "it is counted", func() bool { return c.drops[dropSource].Load() == 1 && inUse(c.held) == 0 })
}

// TestAssociationNewPort is a program that opens its socket anew: its first
// datagram from the new port is answered, and so are the next ones.
func TestAssociationNewPort(t *testing.T) {
	c := start(t, &fakeTunnel{answer: echo}, nil)
	_, relay := associated(t, c, anywhere)
	newApp(t, "127.0.0.1", relay).echoes(t, "192.0.2.1:7", []byte("old"))
	a := newApp(t, "127.0.0.1", relay)
	for range maxHeld {
		a.send(t, datagram(0, "192.0.2.1:7", []byte("new")))
	}
	for range maxHeld {
		if _, payload := a.receive(t); string(payload) != "new" {
			t.Errorf("%q", payload)
		}
	}
	a.echoes(t, "192.0.2.1:7", []byte("known now"))
	if n := inUse(c.held); n != 0 {
		t.Errorf("%d bytes are held", n)
	}
}

// TestAssociationClosesWithARival ends an association while another port waits.
func TestAssociationClosesWithARival(t *testing.T) {
	c := start(t, &fakeTunnel{answer: echo}, nil)
	conn, relay := associated(t, c, anywhere)
	newApp(t, "127.0.0.1", relay).echoes(t, "192.0.2.1:7", []byte("old"))
	newApp(t, "127.0.0.1", relay).send(t, datagram(0, "192.0.2.1:7", []byte("new")))
	eventually(t, "it waits", func() bool { return inUse(c.held) > 0 })
	conn.Close()
	eventually(t, "nothing is held", func() bool { return inUse(c.held) == 0 })
}

// TestAssociationPortFromRequest has requests announce a port that is not used:
// it is no more than an announcement, but may take over at once.
func TestAssociationPortFromRequest(t *testing.T) {
	for _, addr := range []string{"0.0.0.0", "127.0.0.1", "localhost"} {
		f := &fakeTunnel{answer: echo}
		c := start(t, f, nil)
		// Who had to wait would have to each time; a machine that is busy is so once.
		least := time.Minute
		for try := 0; try < 10 && least >= takeoverTime; try++ {
			holder := newApp(t, "127.0.0.1", netip.AddrPort{})
			in := append([]byte{5, 1, 0}, datagram(0, fmt.Sprintf("%s:%d", addr, holder.LocalAddr().(*net.UDPAddr).Port), nil)...)
			in[3], in[4] = 5, 3
			holder.relay = relayOf(talk(t, dial(t, c), in, 12)[2:])
			other := newApp(t, "127.0.0.1", holder.relay)
			other.echoes(t, "192.0.2.1:7", []byte("not from the port that was announced"))
			before := time.Now()
			holder.echoes(t, "192.0.2.1:7", []byte("from the announced one"))
			least = min(least, time.Since(before))
		}
		if least >= takeoverTime {
			t.Errorf("it took over after %v", least)
		}
	}
}

func TestAssociationBehindNATLocksByFirstDatagram(t *testing.T) {
	c := start(t, &fakeTunnel{answer: echo}, nil)
	// The application knows only its own side of a NAT.
	_, relay := associated(t, c, netip.MustParseAddrPort("192.168.1.5:4000"))
	newApp(t, "127.0.0.1", relay).echoes(t, "192.0.2.1:7", []byte("yes"))
}

// What waits for one user's sockets leaves room for another's.
func TestHeldIsShared(t *testing.T) {
	c := &Client{held: admission.NewQuota(maxHeldBytes, 0)}
	keeps := func(user string, size int) (n int) {
		a := new(association)
		a.client, a.holder, a.port.rival = c, admission.Holder{User: user}, new(rival)
		for range maxHeld {
			m := udpio.Message{Buf: buf.Get(size)}
			a.hold(&m)
			if m.Buf == nil {
				n++
			}
		}
		return n
	}
	for range 2 * maxHeldBytes / (maxHeld * 60000) {
		keeps("greedy", 60000)
	}
	if n := inUse(c.held); n > maxHeldBytes-maxHeldBytes/admission.Reserve {
		t.Errorf("%d bytes are one user's, of %d", n, maxHeldBytes)
	}
	if n := keeps("modest", 1500); n != maxHeld {
		t.Errorf("%d datagrams of another user's are kept", n)
	}
}
