package tun

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// A strict kernel looks at each packet that a Device writes.
type strict struct {
	wrong atomic.Pointer[[]byte] // one that is none
	n     atomic.Int64
}

func (k *strict) writePacket(_ *[vnetLen]byte, parts [][]byte) bool {
	b := bytes.Join(parts, nil)
	var n network
	if !n.parse(b) || n.total != len(b) {
		k.wrong.Store(&b)
	}
	k.n.Add(1)
	return true
}

// An echoing tunnel answers what comes to a port, and accepts or refuses connections.
type echoing struct {
	ports, streams atomic.Int64
	strange        atomic.Bool // something was sent to where nothing may be sent
}

type echoingPort struct {
	tunnel *echoing
	to     Sink
}

func (t *echoing) Open(_ Holder, to Sink) (Port, error) {
	t.ports.Add(1)
	return &echoingPort{t, to}, nil
}

func (t *echoing) Flush() {}

func (t *echoing) Owner(uint8, netip.AddrPort, netip.AddrPort) (uint32, bool) { return 0, false }

func (t *echoing) Crowded() {}

func (t *echoing) Connect(_ context.Context, _, to netip.AddrPort) (Stream, error) {
	if !streamable(to) {
		t.strange.Store(true)
	}
	if to.Port()%2 == 0 {
		return nil, ErrRefused
	}
	a, b := net.Pipe()
	t.streams.Add(1)
	go func() { // until the program's end, or the device's
		defer t.streams.Add(-1)
		_ = b.SetDeadline(time.Now().Add(10 * time.Millisecond))
		b.Write([]byte("hello"))
		b.Close()
	}()
	return &fakeStream{Conn: a}, nil
}

func (p *echoingPort) Send(run []Datagram) {
	var batch Batch
	defer batch.Flush()
	for _, d := range run {
		if !reachable(d.To) {
			p.tunnel.strange.Store(true)
		}
		payload := d.Payload.Bytes()
		h := packet.UDP{Src: d.To, Dst: netip.AddrPortFrom(packet.ClientHost4, 1), TTL: 64}
		if d.To.Addr().Is6() {
			h.Dst = netip.AddrPortFrom(packet.ClientHost6, 1)
		}
		if d.Payload.Len() <= packet.MaxWhole6 {
			pkt := append(make([]byte, h.Overhead(len(payload))), payload...)
			packet.PutUDP(pkt, &h)
			p.to.UDP(&batch, &h, pkt, pkt[len(pkt)-len(payload):])
			p.to.Failure(&packet.Failure{Proto: packet.ProtoUDP, Type: 3, Code: 3, Src: h.Dst, Dst: d.To, From: d.To.Addr(), To: h.Dst.Addr()})
		}
		d.Payload.Release()
	}
}

func (p *echoingPort) Echo(b *buf.Buffer, to netip.Addr, seq uint16, tos, ttl uint8) {
	p.to.Echo(&packet.Echo{Src: to, Dst: packet.ClientHost4, Seq: seq, TOS: tos, TTL: max(ttl, 1), Reply: true}, b.Bytes())
	b.Release()
}

func (p *echoingPort) Close() { p.tunnel.ports.Add(-1) }

// offer puts a packet into a script, with what the kernel says of it: grown by so many
// bytes behind it, in 256ths of the longest.
func offer(flags, kind uint8, size uint16, grown uint8, b []byte) []byte {
	head := []byte{flags, kind, byte(size >> 8), byte(size), grown, byte(len(b) >> 8), byte(len(b))}
	return append(head, b...)
}

// FuzzDevice gives a device, with its TCP stack, any packets one after the other, of which
// some are pieces of others: nothing panics, what is given to the kernel are whole packets,
// nothing is sent to where nothing may be, and no port stays.
func FuzzDevice(f *testing.F) {
	t, k := &echoing{}, &strict{}
	d := prepared(t, &link{out: k, cuts: true})
	s, err := newStack(d.link)
	if err != nil {
		f.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	f.Cleanup(func() {
		cancel()
		s.Close()
		s.Wait()
	})
	d.serveTCP(ctx, s)
	whole := udp(src4, dst4, "a payload of some twenty bytes", 0, 64)
	piece := func(from, to int, more bool) []byte {
		b := append(bytes.Clone(whole[:20]), whole[20+from:20+to]...)
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		at := uint16(from / 8)
		if more {
			at |= 0x2000
		}
		binary.BigEndian.PutUint16(b[6:], at)
		return b
	}
	syn := func(port uint16) []byte {
		h := packet.TCP{Src: src4, Dst: netip.AddrPortFrom(dst4.Addr(), port), Flags: packet.FlagSYN, Seq: 1, Window: 1000, TTL: 64, Bare: true}
		b := make([]byte, packet.TCPOverhead(h.Dst.Addr(), 0))
		packet.PutTCP(b, &h)
		packet.SumTCP(b)
		return b
	}
	f.Add(true, offer(0, 0, 0, 0, whole))
	f.Add(false, offer(0, 0, 0, 0, udp(src6, dst6, "payload", 0, 64)))
	f.Add(false, offer(0, 0, 0, 0, echoRequest(src4.Addr(), dst4.Addr(), "payload")))
	f.Add(false, offer(0, 0, 0, 0, echoRequest(src6.Addr(), dst6.Addr(), "payload")))
	f.Add(false, append(offer(0, 0, 0, 0, piece(0, 16, true)), offer(0, 0, 0, 0, piece(16, 38, false))...))
	f.Add(false, append(offer(0, 0, 0, 0, piece(16, 38, false)), offer(0, 0, 0, 0, piece(0, 16, true))...))
	f.Add(false, offer(1, vnetGSOUDP, 1200, 200, udp(src6, dst6, "payload", 0, 64)))
	f.Add(false, append(offer(0, 0, 0, 0, syn(80)), offer(0, 0, 0, 0, syn(81))...))
	f.Add(true, offer(0, 0, 0, 0, udp(src4, netip.AddrPortFrom(dst4.Addr(), 53), "question", 0, 64)))
	f.Fuzz(func(tt *testing.T, names bool, script []byte) {
		d.CaptureNames(nil)
		if names {
			d.CaptureNames(func(netip.Addr) bool { return true })
		}
		for len(script) >= 7 {
			v := vnet{flags: script[0], kind: script[1], size: max(binary.BigEndian.Uint16(script[2:]), 64)}
			grown, n := int(script[4])*256, int(script[5])<<8|int(script[6])
			script = script[7:]
			n = min(n, len(script))
			w := buf.Get(min(n+grown, packet.MaxUDP4Payload))
			b := w.Bytes()
			clear(b)
			copy(b, script[:n])
			script = script[n:]
			if grown > 0 && len(b) > 40 { // as long as it is
				if b[0]>>4 == 4 {
					binary.BigEndian.PutUint16(b[2:], 0)
				} else {
					binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
				}
				binary.BigEndian.PutUint16(b[24:], 0)
			}
			if !d.packet(&v, b, w) {
				w.Release()
			}
		}
		d.flush()
		d.ports.mu.Lock()
		for src, p := range d.ports.bySrc {
			d.ports.drop(src, p)
		}
		d.ports.mu.Unlock()
		if n := t.ports.Load(); n != 0 {
			tt.Errorf("%d ports stay", n)
		}
		if len(d.joiner.open) > maxJoins {
			tt.Errorf("%d packets wait for pieces", len(d.joiner.open))
		}
		if b := k.wrong.Swap(nil); b != nil {
			tt.Errorf("the kernel got % x", (*b)[:min(len(*b), 80)])
		}
		if t.strange.Swap(false) {
			tt.Error("something was sent to where nothing may be")
		}
	})
}
