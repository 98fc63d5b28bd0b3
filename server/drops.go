package server

import "sync/atomic"

// A dropReason says why a datagram went no further. The zero value is none.
type dropReason uint8

const (
	dropNone     dropReason = iota
	dropPacket              // from the tunnel: not a sound UDP packet
	dropSource              // from the tunnel: the inner source is not a client's address
	dropPort                // destination port 0
	dropRefused             // destination refused by default: private, loopback, multicast and so on
	dropOwn                 // destination is an address of this server, and no mapping's
	dropDenied              // destination refused by relay.deny
	dropBrake               // the client reaches too many new destinations a second
	dropQuota               // the client has used its quota
	dropRate                // beyond the client's rate, either way
	dropService             // the server has no such port inside the tunnel
	dropCap                 // no room for another mapping, and none is idle for long enough
	dropSocket              // the system gave no socket for a mapping
	dropSend                // the mapping's socket would not take it
	dropClosed              // the session has ended
	dropFiltered            // from the internet: the mapping's filter does not know the sender
	dropForged              // from outside: the sender has an address of the tunnel, or of the server's own machine or network
	dropFamily              // from the internet: the sender is of the other address family
	dropSize                // from the internet: longer than an IP packet can be
	dropQueries             // too many names are being resolved
	dropQuery               // not a DNS query
	dropEcho                // an echo request, which the system does not let the server send
	dropTTL                 // at the end of its time to live
	dropReasons
)

// dropNames are the words for metrics, by reason.
var dropNames = [dropReasons]string{
	"", "packet", "source", "port", "refused", "own", "denied", "brake", "quota", "rate", "service", "cap", "socket", "send", "closed",
	"filtered", "forged", "family", "size", "queries", "query", "echo", "ttl",
}

// String returns the word for metrics.
func (r dropReason) String() string { return dropNames[r] }

// drops counts dropped datagrams by reason.
type drops [dropReasons]atomic.Uint64

func (d *drops) add(r dropReason, n uint64) { d[r].Add(n) }

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
