package client

import (
	"context"
	"net/netip"
	"time"

	"github.com/mpsocks/mpsocks/mux/packet"
)

// aliveTick is how often the server is told of open ports that have sent nothing
// since the last time. A port is told of twice that long after it last sent at
// the latest: sooner than the shortest idle time that a server may have, two
// minutes (RFC 4787, REQ-5).
const aliveTick = 50 * time.Second

// tellAlive keeps the mappings of open inner ports at the server until ctx ends:
// a program that only listens, to a stream that is pushed to it, goes on hearing
// as long as its association is open. Only the client knows how long that is.
func tellAlive(ctx context.Context, c *Client) error {
	tick := time.NewTicker(aliveTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			alive(c)
		}
	}
}

// alive tells of the open ports that may have a mapping and have sent nothing
// since the last call.
func alive(c *Client) {
	four := news{client: c, to: netip.AddrPortFrom(packet.ServerHost4, packet.AlivePort)}
	six := news{client: c, to: netip.AddrPortFrom(packet.ServerHost6, packet.AlivePort)}
	c.ports.each(func(p *innerPort) {
		in := p.owner.core()
		if in == &c.names.inner {
			return // it speaks to the server only
		}
		in.mu.Lock()
		quiet, v4, v6 := !in.closed && !in.fresh, in.sent4, in.sent6
		in.fresh = false
		in.mu.Unlock()
		if quiet && v4 {
			four.add(p)
		}
		if quiet && v6 {
			six.add(p)
		}
	})
	sent4, sent6 := four.send(), six.send()
	if sent4 || sent6 {
		c.tunnel.Flush()
	}
}

// core is what all owners of inner ports have.
func (in *inner) core() *inner { return in }
