package mux

import (
	"crypto/ed25519"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/mux/carrier"
	"github.com/mpsocks/mpsocks/mux/engine"
	"github.com/mpsocks/mpsocks/mux/handshake"
	"github.com/mpsocks/mpsocks/mux/mptcp"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// reader is an end that reads a little of every stream and lets it end.
type reader struct{ *collector }

func (reader) Deliver([][]byte) {}

func (reader) Stream(st *Stream) {
	_ = st.SetDeadline(time.Now().Add(20 * time.Millisecond))
	var b [64]byte
	n, _ := st.Read(b[:])
	_, _ = st.Write(b[:n])
	st.Close()
}

// A scripted peer says what a script tells it, most of it legal, on two subflows.
type scripted struct {
	conns [2]*tls.Conn
	dsn   uint64
	ssn   [2]uint32
	sum   bool
}

var scriptKeys = sync.OnceValue(func() (k [2]*tls.Config) {
	_, ck, _ := ed25519.GenerateKey(nil)
	_, sk, _ := ed25519.GenerateKey(nil)
	k[0], _ = handshake.ClientTLS(ck, sk.Public().(ed25519.PublicKey))
	k[1], _ = handshake.ServerTLS(sk, Cover{}, func([32]byte) bool { return true })
	return k
})

// join adds both subflows to s.
func (p *scripted) join(t *testing.T, s *Session) {
	t.Helper()
	for i := range p.conns {
		near, far := net.Pipe()
		p.conns[i] = tls.Client(near, scriptKeys()[0])
		k := carrier.NewTLS(far, engine.MinLowat)
		done := make(chan error, 1)
		go func() { done <- k.Server(t.Context(), scriptKeys()[1]) }()
		if err := p.conns[i].Handshake(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = io.Copy(io.Discard, p.conns[i]) }()
		f := newSubflow(s, s.core.pathOf(uint8(i), netip.MustParseAddrPort("192.0.2.1:1")), k, s.keys())
		if err := s.attach(f); err != nil {
			t.Fatal(err)
		}
	}
}

// say sends one step of a script.
func (p *scripted) say(op, x, y, z byte) {
	i := int(op>>5) & 1
	d := mptcp.DSS{HasMap: true, DSN8: op&0x40 == 0, DSN: p.dsn, SSN: p.ssn[i], HasChecksum: p.sum}
	var out, pkt []byte
	switch op & 0xF {
	case 0, 1, 2: // a datagram, perhaps ahead of its turn
		u := packet.UDP{Src: netip.MustParseAddrPort("198.18.0.2:5000"), Dst: netip.MustParseAddrPort("192.0.2.9:9"), TTL: 64}
		n := int(x) * int(y) % 3000
		pkt = make([]byte, u.Overhead(n)+n)
		packet.PutUDP(pkt, &u)
		if op&0xF == 2 {
			d.DSN += uint64(y) << (z & 31)
		}
	case 3, 4, 5: // a segment
		h := packet.TCP{
			Src: netip.AddrPortFrom(netip.MustParseAddr("198.18.0.2"), 1024+uint16(x&3)), Dst: netip.MustParseAddrPort("198.18.0.1:1080"),
			Flags: y, Seq: uint32(z), Ack: uint32(x), Window: uint16(x) << 8, TTL: 64, Bare: true,
		}
		pkt = make([]byte, packet.TCPOverhead(h.Dst.Addr(), 0)+int(x)*8)
		packet.PutTCP(pkt, &h)
	case 6: // not a packet
		pkt = []byte{x, y, z, op, x, y, z}
	case 7:
		out = (&mptcp.DSS{HasAck: true, Ack8: y&1 != 0, Ack: mptcp.Key(1).IDSN() + 1 + uint64(x)<<(z&31)}).Append(nil)
	case 8:
		out = (&mptcp.Prio{Backup: x&1 != 0}).Append(nil)
	case 9:
		r := mptcp.RemoveAddr{N: 1}
		r.IDs[0] = y
		out = r.Append(nil)
	case 10:
		a := mptcp.AddAddr{ID: x, Addr: netip.MustParseAddr("192.0.2.77"), Port: 1 + uint16(y), Echo: z&1 != 0}
		if z&2 != 0 {
			a.HMAC = mptcp.AddAddrHMAC(2, 1, a.ID, a.Addr, a.Port)
		}
		out = a.Append(nil)
	case 11:
		e := mptcp.Experimental{Type: x & 3}
		e.SetPayload(binary.BigEndian.AppendUint64(nil, uint64(y)<<(z&63)))
		out = e.Append(nil)
	case 12:
		out = (&mptcp.FastClose{Receiver: mptcp.Key(x & 1)}).Append(nil)
	case 13:
		out = (&mptcp.Reset{Transient: x&1 != 0, Reason: mptcp.Reason(y)}).Append(nil)
	case 14: // DATA_FIN
		out = (&mptcp.DSS{HasMap: true, DSN8: true, DataFIN: true, DSN: p.dsn + uint64(x), Length: 1, HasChecksum: p.sum}).Append(nil)
	case 15: // bytes
		out = []byte{30, x, y, z}
	}
	if pkt != nil {
		d.Length = uint16(len(pkt))
		if d.HasChecksum {
			d.Checksum = mptcp.Checksum(d.DSN, d.SSN, d.Length, pkt) ^ uint16(z>>7)
		}
		out = append(d.Append(nil), pkt...)
		p.dsn += uint64(len(pkt))
		p.ssn[i] += uint32(len(pkt))
	}
	_ = p.conns[i].SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = p.conns[i].Write(out)
}

// FuzzSession feeds a script to a whole session: whatever comes, it does not panic,
// ends when it is told to, and holds nothing afterwards.
func FuzzSession(f *testing.F) {
	for i := range byte(16) {
		f.Add([]byte{i, 3, 5, 0, 0, 40, 9, 1, 32, 7, 7, 7, 3, 1, packet.FlagSYN, 0})
		f.Add([]byte{0, 9, 9, 9, i, 3, 5, 2, i | 32, 200, 1, 7, 7, 1, 0, 0})
		f.Add([]byte{0x80, 1, 1, 1, i, 3, 200, 255, 1, 2, 3, 4})
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 256 {
			return
		}
		h := reader{newCollector()}
		s := newSession(sessionConfig{handler: h, streams: 8})
		p := &scripted{dsn: mptcp.Key(2).IDSN() + 1, ssn: [2]uint32{1, 1}, sum: len(script) > 0 && script[0]&0x80 != 0}
		s.establish(1, 2, p.sum)
		p.join(t, s)
		for ; len(script) >= 4; script = script[4:] {
			p.say(script[0], script[1], script[2], script[3])
		}
		leave := func() {
			for _, c := range p.conns {
				c.Close()
			}
		}
		if len(script) != 1 { // usually the peer goes first
			leave()
		}
		ended := make(chan struct{})
		go func() { s.Close(nil); close(ended) }()
		select {
		case <-ended:
		case <-time.After(5 * time.Second):
			t.Fatal("the session does not end")
		}
		leave()
		if n := s.streams.Count(); n != 0 {
			t.Errorf("%d streams stay", n)
		}
	})
}
