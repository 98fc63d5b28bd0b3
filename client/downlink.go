package client

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/mpsocks/mpsocks/client/tun"
	"github.com/mpsocks/mpsocks/mux"
	"github.com/mpsocks/mpsocks/mux/packet"
	"github.com/mpsocks/mpsocks/mux/udpio"
)

// delivery is what one call of Deliver works with: the Writer that gathers the
// datagrams for all relay sockets, the Batch that does so for TUN devices, and the header of
// the packet at hand.
type delivery struct {
	w       *udpio.Writer
	devices tun.Batch
	udp     packet.UDP

	// Datagrams mostly come for one port at a time: their bytes are counted together.
	port  *innerPort
	bytes uint64
}

// count counts bytes for a port.
func (d *delivery) count(p *innerPort, n int) {
	if p != d.port {
		d.counted()
		d.port = p
	}
	d.bytes += uint64(n)
}

// counted gives the port what was counted for it.
func (d *delivery) counted() {
	if d.port != nil {
		d.port.owner.core().received.Add(d.bytes)
	}
	d.port, d.bytes = nil, 0
}

// deliveries pools them: subflow readers deliver at the same time.
var deliveries = sync.Pool{New: func() any { return &delivery{w: udpio.NewWriter()} }}

// A downlink is the tunnel's handler: it takes what the server sends to the applications.
type downlink struct {
	client   *Client
	received atomic.Uint64 // datagrams handed to applications

	// What comes in two halves, being too long for one mapping of the tunnel.
	halves udpio.Reassembler
}

// Deliver implements mux.Handler: it takes UDP packets from the tunnel to the
// applications, one batch at a time. It rewrites the packets in place and does
// not keep them.
func (l *downlink) Deliver(pkts [][]byte) {
	c, d := l.client, deliveries.Get().(*delivery)
	for _, pkt := range pkts {
		payload, err := packet.ParseUDP(pkt, &d.udp)
		if err == packet.ErrFragment && packet.IsFragment(pkt) {
			if pkt, payload = l.whole(pkt, &d.udp); pkt == nil {
				continue // its other half is on the way
			}
		} else if err == packet.ErrProtocol && l.icmp(pkt) {
			continue
		} else if err != nil {
			c.drops.add(dropPacket)
			continue
		}
		p := c.ports.lookup(d.udp.Dst)
		if p == nil {
			if !takeWord(c, &d.udp, payload) && !takeRefusals(c, &d.udp, payload, time.Now()) {
				c.drops.add(dropNoPort)
			}
			continue
		}
		d.count(p, len(payload))
		p.owner.receive(d, pkt, payload)
	}
	d.counted()
	d.devices.Flush()
	sent, dropped := d.w.Flush()
	if sent > 0 {
		l.received.Add(uint64(sent))
	}
	if dropped > 0 {
		c.drops[dropSend].Add(uint64(dropped))
	}
	deliveries.Put(d)
}

// whole takes a fragment and returns the datagram that it completes, or nil. As
// in a packet there is room before the payload, for the SOCKS header.
func (l *downlink) whole(pkt []byte, h *packet.UDP) (datagram, payload []byte) {
	payload, ok := l.halves.Add(pkt, h)
	if !ok {
		return nil, nil
	}
	datagram = append(make([]byte, packet.UDP6Overhead, packet.UDP6Overhead+len(payload)), payload...)
	return datagram, datagram[packet.UDP6Overhead:]
}

// Stream implements mux.Handler: a server opens no streams.
func (l *downlink) Stream(st *mux.Stream) { st.Close() }

// Closed implements mux.Handler: the session renews itself, so that only
// shutdown ends it.
func (l *downlink) Closed(err error) {
	l.client.log.Debug().Err(err).Msg("session closed")
}
