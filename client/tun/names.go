package tun

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// DNS over TCP (RFC 7766) with the resolver in the tunnel, which knows UDP only: its
// answers are whole there, whatever their length, so that a connection needs no more than
// their lengths in front (RFC 1035, Section 4.2.2).

const (
	// namesIdle is how long a connection may be silent (RFC 7766, Section 6.2.3).
	namesIdle = 30 * time.Second
	// maxAnswers bounds the answers that wait in a connection for its program to read.
	maxAnswers = 64
	dnsHeader  = 12 // RFC 1035, Section 4.1.1
)

// resolver says whether names are asked for there.
func resolver(to netip.AddrPort) bool {
	return to.Port() == packet.ResolverPort && (to.Addr() == packet.ServerHost4 || to.Addr() == packet.ServerHost6)
}

// names serves one connection of somebody's to the resolver until it ends, is idle, or ctx ends,
// and closes it.
func (d *Device) names(ctx context.Context, by Holder, conn net.Conn, to netip.AddrPort) {
	answers := make(chan []byte, maxAnswers)
	p, err := d.tunnel.Open(by, Sink{UDP: func(_ *Batch, h *packet.UDP, _, payload []byte) {
		if h.Src != to || len(payload) > 0xFFFF {
			return
		}
		b := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(payload)), uint16(len(payload)))
		select {
		case answers <- append(b, payload...):
		default: // its program reads none
		}
	}})
	if err != nil {
		d.n.refused.Add(1)
		conn.Close()
		return
	}
	defer p.Close()
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case b := <-answers:
				conn.SetWriteDeadline(time.Now().Add(namesIdle))
				if _, err := conn.Write(b); err != nil {
					cancel()
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	context.AfterFunc(ctx, func() { conn.Close() })
	ask(d, conn, p, to)
	cancel()
	<-done
}

// ask passes on the questions of a connection until it has no more.
func ask(d *Device, conn net.Conn, p Port, to netip.AddrPort) {
	var size [2]byte
	for {
		conn.SetReadDeadline(time.Now().Add(namesIdle))
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return
		}
		n := int(binary.BigEndian.Uint16(size[:]))
		if n < dnsHeader || n > packet.MaxUDP4Payload {
			return
		}
		b := buf.Get(n)
		if _, err := io.ReadFull(conn, b.Bytes()); err != nil {
			b.Release()
			return
		}
		d.n.out.Add(1)
		p.Send([]Datagram{{b, to, 0, 64}})
		d.tunnel.Flush()
	}
}
