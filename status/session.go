package status

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/mpsocks/mpsocks/mux"
)

// Protocol numbers of IANA that flows have.
const (
	protoICMP  = 1
	protoTCP   = 6
	protoUDP   = 17
	protoICMP6 = 58
)

// OfSession puts a session's own report into the model: its state, and its
// flows as programs that have no names yet. A path's state is what can be seen of
// it at this half; the client knows more.
func OfSession(s mux.Snapshot) (Session, []Program) {
	out := Session{
		ID: s.ID, Peer: s.Peer, Version: s.Version, Up: s.Up, Mode: s.Mode, Renewals: s.Renewals, Flows: s.FlowCount, Streams: s.Streams,
		Queued: s.Queued, InFlight: s.InFlight, Sent: s.Sent, Copied: s.Copied, Reinjected: s.Reinjected,
		Received: s.Received, Packets: s.Packets, Repeats: s.Repeats, Restored: s.Restored, Expired: s.Expired,
		Drops: s.Drops, Paths: []Path{}, Subflows: []Subflow{},
	}
	for _, f := range s.Subflows {
		out.Subflows = append(out.Subflows, Subflow{
			Path: f.Path, Slot: f.Slot, Local: f.Local.String(), Remote: f.Remote.String(), State: f.State, Bulk: f.Bulk,
			Congestion: f.Congestion, Backup: f.Backup, RTT: f.RTT, RTTVar: f.RTTVar, Rate: f.Rate, Window: f.Window,
			Outstanding: f.Outstanding, Retransmits: f.Retransmits, Segments: f.Segments, Sent: f.Sent, Received: f.Received, Age: f.Age,
		})
	}
	names := make(map[string]int)
	for _, p := range s.Paths {
		one := ofPath(p, s.Subflows)
		// At the server a path's name is its address, and a NAT may give two the same.
		if names[p.Name]++; names[p.Name] > 1 {
			one.Name = fmt.Sprintf("%s (%d)", p.Name, names[p.Name])
		}
		out.Paths = append(out.Paths, one)
	}
	programs := make([]Program, 0, len(s.Flows))
	for _, f := range s.Flows {
		programs = append(programs, ofFlow(s, f))
	}
	return out, programs
}

// idleTime is how long no path may work before a session is of no use: one that flaps, or goes
// from one network to the next, is soon back.
const idleTime = 5 * time.Second

// Works says whether programs' traffic goes by the session of a client: it is up, and some path
// of it works or did a moment ago.
func (s *Session) Works(now time.Time) bool {
	return s.Up && slices.ContainsFunc(s.Paths, func(p Path) bool { return p.Carries() || now.Sub(p.Since) < idleTime })
}

// ofPath sums up a path and its subflows. The round trip is that of its best
// subflow: the others wait behind what they carry.
func ofPath(p mux.PathSnapshot, subflows []mux.SubflowSnapshot) Path {
	out := Path{
		Name: p.Name, Backup: p.Backup, Metered: p.Metered, Subflows: p.Subflows, Estimated: p.Rate,
		Lossy: p.Lossy, Dark: p.Dark, Sent: p.Sent, Received: p.Received, KeepAlive: p.KeepAlive,
	}
	best, moving := math.Inf(1), 0
	for _, f := range subflows {
		if f.Path != p.Name {
			continue
		}
		out.Queued += f.Outstanding
		if f.State != "stale" {
			moving++
		}
		if f.RTT > 0 && f.RTT < best {
			best = f.RTT
			out.RTT, out.Jitter = f.RTT/1e3, f.RTTVar/1e3
		}
	}
	switch {
	case p.Capped:
		out.State = Capped
	case p.Subflows == 0:
		out.State, out.Cause = Dead, "no connection"
	case p.Dark:
		out.State, out.Cause = Dead, "no answer"
	case moving == 0:
		out.State, out.Cause = Stalled, "no answer"
	default:
		out.State = Up
	}
	return out
}

func ofFlow(s mux.Snapshot, f mux.FlowSnapshot) Program {
	proto, to := "udp", f.To.String()
	switch f.Proto {
	case protoTCP:
		proto = "tcp"
	case protoUDP:
	case protoICMP, protoICMP6:
		proto, to = "icmp", f.To.Addr().String()
	default:
		proto = fmt.Sprint("ip ", f.Proto)
	}
	return Program{
		Session: s.ID, Client: s.Peer, User: f.User, Proto: proto, To: to, App: f.From.String(), Class: f.Class,
		Why: f.Why, Only: f.Only, Paths: f.On, Came: f.Came, Bytes: f.Bytes, Received: f.Received, Packets: f.Packets, Copies: f.Copies, Dropped: f.Dropped, Queued: f.Queued,
		Key: FlowKey(f.Proto, f.From, f.To),
	}
}

// FlowKey names a flow inside the tunnel, for those who act on it.
func FlowKey(proto uint8, from, to netip.AddrPort) string {
	return fmt.Sprintf("%d %s %s", proto, from, to)
}
