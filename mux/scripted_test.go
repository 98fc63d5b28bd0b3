package mux

import (
	"context"
	"encoding/binary"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/carrier"
	"github.com/mpsocks/mpsocks/mux/dialer"
	"github.com/mpsocks/mpsocks/mux/engine"
	"github.com/mpsocks/mpsocks/mux/mptcp"
	"github.com/mpsocks/mpsocks/mux/muxtest/pipe"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// A scripted plays a session's peer, and what the session's owner does, in virtual time:
// each step of a script is four bytes, most of what they say is legal.
type scripted struct {
	t       *testing.T
	s       *Session
	from    *counting
	servers servers
	memory  *Memory
	ctx     context.Context
	tasks   sync.WaitGroup
	sum     bool // the mappings have checksums
	links   []*link
	told    int           // of the next frame: where it is altered, from 1,
	with    byte          // and with what,
	torn    bool          // and whether it comes in two pieces
	slept   time.Duration // by the script
	number  uint64        // of the datagrams that were said
	altered bool          // frames were
	epoch   uint64
	dsn     uint64
	frame   []byte // the last one that carried a packet, with
	its     mptcp.DSS

	mu   sync.Mutex // guards what the session has said
	due  uint64     // the number behind the last that it has used
	last packet.TCP // its last segment, with so many bytes
	size int
}

// A link is the peer's end of a subflow.
type link struct {
	end  *pipe.End
	ssn  uint32
	half mptcp.Half
	deaf chan struct{} // nil = it listens
	mu   sync.Mutex    // guards deaf
}

// The keys of both, from where the session stands.
const scriptOwn, scriptPeer = mptcp.Key(1), mptcp.Key(2)

// establish begins an epoch, and joins two subflows.
func (p *scripted) establish() {
	p.epoch = p.s.establish(scriptOwn, scriptPeer, p.sum).epoch
	p.dsn, p.links, p.frame = scriptPeer.IDSN()+1, nil, nil
	p.mu.Lock()
	p.due = scriptOwn.IDSN() + 1
	p.mu.Unlock()
	p.join(0)
	p.join(1)
}

// join adds a subflow of a path.
func (p *scripted) join(path uint8) {
	s := p.s
	near, far := pipe.New(64<<10, carrier.MostRead)
	var at *engine.Path
	s.enter(func(e *engine.Engine, _ int64) {
		at = e.PathOf(path, engine.PathConfig{Name: string(rune('a' + path))})
	})
	if s.attach(newSubflow(s, at, near, s.keys())) != nil {
		far.Close() // it has ended, or has too many
	}
	l := &link{end: far, ssn: 1}
	p.links = append(p.links, l)
	p.tasks.Go(func() { p.listen(l) })
}

// listen reads what the session says by a subflow until that ends: it has to be options,
// with whole packets.
func (p *scripted) listen(l *link) {
	var o mptcp.Option
	said, space := []byte(nil), make([]byte, 64<<10)
	for {
		l.mu.Lock()
		deaf := l.deaf
		l.mu.Unlock()
		if deaf != nil {
			<-deaf
			continue
		}
		n, err := l.end.Read(space)
		if err != nil {
			return
		}
		said = append(said, space[:n]...)
		for {
			n, err := o.Parse(said, p.sum)
			end := n
			if err == nil && o.Subtype == mptcp.MPDSS {
				end += o.DSS.PayloadLen()
			}
			if err == mptcp.ErrShort || end > len(said) {
				break
			}
			if err != nil {
				p.t.Errorf("the session says % x: %v", said[:min(len(said), 40)], err)
				return
			}
			if o.Subtype == mptcp.MPDSS && end > n {
				p.heard(l, &o.DSS, said[n:end])
			}
			said = said[end:]
		}
	}
}

// heard notes a packet of the session's.
func (p *scripted) heard(l *link, d *mptcp.DSS, pkt []byte) {
	if n, err := packet.Length(pkt); err != nil || n != len(pkt) {
		p.t.Errorf("a mapping of %d bytes around a packet of %d: %v", len(pkt), n, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	end := l.half.Read(d.DSN, d.DSN8, p.due) + uint64(len(pkt))
	if int64(end-p.due) > 0 {
		p.due = end
	}
	if packet.Proto(pkt) != packet.ProtoTCP {
		return
	}
	payload, err := packet.ParseTCP(pkt, &p.last)
	if err != nil {
		p.t.Errorf("the session's segment: %v", err)
	}
	p.size = len(payload)
}

// step does one step. That it is over is known when nothing runs any more.
func (p *scripted) step(op, x, y, z byte) {
	if p.s.client && p.s.keys().epoch != p.epoch { // the session was ended, and is to be another
		p.leave()
		p.establish()
	}
	l := p.links[int(op>>5)&1%len(p.links)]
	if op&0x40 != 0 && op&0x10 != 0 {
		l = p.links[len(p.links)-1]
	}
	if op&0x10 != 0 {
		p.act(l, op&0xF, x, y, z)
	} else {
		p.say(l, op, x, y, z)
	}
	if op&0x80 == 0 {
		synctest.Wait()
	}
}

// say has the peer say something.
func (p *scripted) say(l *link, op, x, y, z byte) {
	d := mptcp.DSS{HasMap: true, DSN8: op&0x40 == 0, DSN: p.dsn, HasChecksum: p.sum}
	var out, pkt []byte
	switch op & 0xF {
	case 0, 1, 2: // a datagram, perhaps ahead of its turn
		u := packet.UDP{Src: netip.MustParseAddrPort("198.18.0.2:5000"), Dst: netip.MustParseAddrPort("192.0.2.9:9"), TTL: 64, ID: uint32(p.number)}
		n := max(8, int(x)*int(y)%3000)
		pkt = make([]byte, u.Overhead(n)+n)
		binary.BigEndian.PutUint64(pkt[len(pkt)-n:], p.number)
		packet.PutUDP(pkt, &u)
		p.number++
		if op&0xF == 2 {
			d.DSN += uint64(y) << (z & 31)
		}
	case 3, 4: // a segment
		pkt = segment(packet.TCP{
			Src: netip.AddrPortFrom(packet.ClientHost4, 1024+uint16(x&3)), Dst: netip.AddrPortFrom(packet.ServerHost4, packet.ExitPort),
			Flags: y, Seq: uint32(z), Ack: uint32(x), Window: uint16(x) << 8,
		}, int(x)*8)
	case 5: // an answer to the session's last segment, or about
		p.mu.Lock()
		h := p.last
		ack := h.Seq + uint32(p.size)
		p.mu.Unlock()
		if h.Flags&packet.FlagSYN != 0 {
			ack++
		}
		if !h.Src.IsValid() {
			return
		}
		pkt = segment(packet.TCP{
			Src: h.Dst, Dst: h.Src, Flags: y, Seq: h.Ack + uint32(int32(int8(z))), Ack: ack - uint32(z>>6), Window: uint16(x) << 8,
		}, int(x)*8)
	case 6: // not a packet
		pkt = []byte{x, y, z, op, x, y, z}
	case 7:
		out = (&mptcp.DSS{HasAck: true, Ack8: y&1 != 0, Ack: scriptOwn.IDSN() + 1 + uint64(x)<<(z&31)}).Append(nil)
	case 8:
		out = (&mptcp.Prio{Backup: x&1 != 0}).Append(nil)
	case 9:
		r := mptcp.RemoveAddr{N: 1}
		r.IDs[0] = y
		out = r.Append(nil)
	case 10:
		a := mptcp.AddAddr{ID: x, Addr: netip.AddrFrom4([4]byte{y, 0, 2, x}), Port: 1 + uint16(y), Echo: z&1 != 0}
		if z&2 != 0 {
			a.HMAC = mptcp.AddAddrHMAC(scriptPeer, scriptOwn, a.ID, a.Addr, a.Port)
		}
		out = a.Append(nil)
	case 11:
		e := mptcp.Experimental{Type: x & 15}
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
		p.carry(l, &d, pkt, uint16(z>>7))
		p.dsn += uint64(len(pkt))
		return
	}
	p.write(l, out)
}

// segment is one of a stream.
func segment(h packet.TCP, n int) []byte {
	h.TTL, h.Bare = 64, true
	b := make([]byte, packet.TCPOverhead(h.Dst.Addr(), 0)+n)
	packet.PutTCP(b, &h)
	return b
}

// carry says a packet; wrong spoils its checksum.
func (p *scripted) carry(l *link, d *mptcp.DSS, pkt []byte, wrong uint16) {
	d.SSN, d.Length = l.ssn, uint16(len(pkt))
	if d.HasChecksum {
		d.Checksum = mptcp.Checksum(d.DSN, d.SSN, d.Length, pkt) ^ wrong
	}
	l.ssn += uint32(len(pkt))
	p.frame, p.its = pkt, *d
	p.write(l, append(d.Append(nil), pkt...))
}

// write writes what is said as the steps before want it.
func (p *scripted) write(l *link, b []byte) {
	if p.told > 0 && len(b) > 0 {
		b[(p.told-1)%len(b)] ^= p.with
		p.altered = true
	}
	if p.torn {
		_, _ = l.end.Write(b[:len(b)/2])
		synctest.Wait()
		b = b[len(b)/2:]
	}
	p.told, p.torn = 0, false
	_, _ = l.end.Write(b)
}

// Bounds of a script: what it may wait, and how many subflows it may join.
const scriptTime, scriptLinks = 10 * time.Second, 8

// act does something else than to say a frame.
func (p *scripted) act(l *link, op, x, y, z byte) {
	s := p.s
	p.mu.Lock()
	due := p.due
	p.mu.Unlock()
	switch op {
	case 0, 1: // the session's owner sends
		src, dst := netip.AddrPortFrom(packet.ServerHost4, 7+uint16(y&3)), netip.AddrPortFrom(packet.ClientHost4, 5000)
		var out []*buf.Buffer
		for range 1 + z&7 {
			out = append(out, testPacket(src, dst, 0, 8+int(x)*8))
		}
		s.Send(&Source{}, out)
		s.Flush()
	case 2: // and opens a stream
		if s.client {
			if st, err := s.OpenStream(p.ctx, netip.AddrPort{}, netip.AddrPortFrom(packet.ServerHost4, packet.ExitPort)); err == nil {
				p.tasks.Go(func() { p.from.serve(st, int(x)<<(y&7)) })
			}
		}
	case 3, 4: // what it has sent is acknowledged, but for some
		p.write(l, (&mptcp.DSS{HasAck: true, Ack8: z&1 == 0, Ack: due - uint64(x)<<(y&7)}).Append(nil))
	case 5: // the last packet again, by this subflow
		if p.frame != nil {
			d := p.its
			p.carry(l, &d, p.frame, 0)
		}
	case 6, 7:
		d := time.Duration(x) * [...]time.Duration{100 * time.Microsecond, time.Millisecond, 10 * time.Millisecond, 100 * time.Millisecond}[y&3]
		d = min(d, scriptTime-p.slept)
		p.slept += d
		time.Sleep(d)
	case 8:
		l.mu.Lock()
		if l.deaf != nil {
			close(l.deaf)
			l.deaf = nil
		} else {
			l.deaf = make(chan struct{})
		}
		l.mu.Unlock()
	case 9:
		l.end.Close()
	case 10:
		if len(p.links) < scriptLinks {
			p.join(x & 7)
		}
	case 11:
		p.told, p.with = 1+int(x), y
	case 12:
		p.torn = true
	case 13: // a part of a datagram, of which the other one may follow
		h := packet.UDP{Src: netip.AddrPortFrom(packet.ClientHost6, 4000), Dst: netip.MustParseAddrPort("[2001:db8::1]:9"), TTL: 64, ID: uint32(y)}
		whole := make([]byte, packet.UDP6Overhead+packet.MaxWhole6+1)
		tail := make([]byte, packet.MaxTail)
		first, second := packet.SplitUDP(whole, tail, &h)
		pkt := whole[:first]
		if x&1 != 0 {
			pkt = tail[:second]
		}
		p.carry(l, &mptcp.DSS{HasMap: true, DSN8: true, DSN: p.dsn, HasChecksum: p.sum}, pkt, 0)
		p.dsn += uint64(len(pkt))
	case 14: // an option of any kind
		b := make([]byte, 3+int(x)%(mptcp.MaxLen-2))
		b[0], b[1], b[2] = mptcp.Kind, byte(len(b)), y
		for i := range b[3:] {
			b[3+i] = z + byte(i)*y
		}
		p.write(l, b)
	case 15: // the session is looked at, and told something
		_ = s.Snapshot()
		s.setPolicy(Mode(x&1), nil, time.Minute)
		at, _ := packet.EndAt(packet.ProtoUDP, netip.AddrPortFrom(packet.ClientHost4, 5000))
		s.Wish(at, Wish{Asked: y&1 != 0, IDs: uint32(z)})
	}
}

// leave ends all subflows from the peer's side.
func (p *scripted) leave() {
	for _, l := range p.links {
		l.end.Close()
		l.mu.Lock()
		if l.deaf != nil {
			close(l.deaf)
			l.deaf = nil
		}
		l.mu.Unlock()
	}
}

// newScripted makes a session that has a scripted peer; begun with its monitor.
func newScripted(t *testing.T, client, sum bool) *scripted {
	p := &scripted{t: t, sum: sum, memory: newMemory(), from: &counting{seen: make(map[uint64]int)}}
	p.memory.setLimit(64 << 20)
	p.ctx = t.Context()
	p.servers.names = dialer.NewNames(nil)
	p.s = newSession(sessionConfig{client: client, handler: p.from, streams: 8})
	if client {
		p.s.refused, p.s.advertised = func(epoch uint64) { p.s.renew(epoch) }, p.servers.learn
		p.s.left = func(uint64, time.Duration) {}
	} else {
		p.s.memory = p.memory
	}
	p.tasks.Go(func() { p.s.monitor.run(p.ctx) })
	p.establish()
	return p
}
