package client

import "sync/atomic"

// A dropReason says why a datagram went no further.
type dropReason uint8

const (
	dropSource      dropReason = iota // not from the application that owns the association
	dropHeader                        // malformed SOCKS header
	dropPort                          // destination port 0
	dropTunnel                        // to the tunnel's own addresses
	dropFragment                      // a fragment out of order, late, or over the caps
	dropName                          // the name is malformed, does not exist or could not be asked for in time
	dropNameQueue                     // too much waits for names
	dropSize                          // longer than an IP packet can be
	dropClosed                        // the association or forward has ended
	dropForwardPeer                   // too many senders at one forward
	dropPacket                        // from the tunnel: not a sound UDP packet
	dropNoPort                        // from the tunnel: nobody has that inner port
	dropNoPeer                        // from the tunnel: the application has not said where it is
	dropSend                          // from the tunnel: the relay socket would not take it
	dropLoop                          // redirected, and would come back here or is nowhere
	dropTTL                           // redirected, at the end of its time to live
	dropReasons
)

// dropNames are the words for metrics, by reason.
var dropNames = [dropReasons]string{
	"source", "header", "port", "tunnel", "fragment", "name", "name_queue", "size", "closed",
	"forward_peer", "packet", "no_port", "no_peer", "send",
	"loop", "ttl",
}

// drops counts dropped datagrams by reason.
type drops [dropReasons]atomic.Uint64

func (d *drops) add(r dropReason) { d[r].Add(1) }

// all lists every reason, so that a metric of it is there from the start.
func (d *drops) all() map[string]uint64 {
	out := make(map[string]uint64)
	for r := range d {
		if name := dropNames[r]; name != "" {
			out[name] = d[r].Load()
		}
	}
	return out
}
