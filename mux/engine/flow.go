package engine

import (
	"cmp"
	"slices"

	"github.com/mpsocks/mpsocks/mux/fq"
	"github.com/mpsocks/mpsocks/mux/packet"
)

const (
	// maxFlows bounds the table; beyond it packets share the flow of the
	// overflow key. 65,536 flows are about 40 MiB, which Charge counts.
	maxFlows = 65536
	// maxFlowsEach is how many of them one end inside the tunnel has; what more comes shares one
	// flow of that end's. Whoever sends to a port of the server's can invent addresses.
	maxFlowsEach = 4096
	// A flow that sent nothing for this long is forgotten.
	flowIdle = 60e9
)

// A table has the flows of a session in the sending direction, and the queue in which
// their packets wait.
type table struct {
	client bool // rules are about the destination, not the source
	mode   Mode
	rules  []Rule
	flows  map[packet.Key]*fq.Flow
	ends   map[packet.End]int // how many flows each has
	queue  fq.Queue
	wishes wishes
	turn   uint32 // counts what small flows were given; flows differ in it, too
}

// flowFor returns the flow of packet p, new if need be.
func (t *table) flowFor(src *Source, p []byte, now int64) *fq.Flow {
	var k packet.Key
	if !packet.KeyOf(p, &k) {
		return nil
	}
	if src != nil && src.last != nil {
		last := &src.last.Key
		if *last == k {
			t.heed(src.last, now)
			return src.last
		}
		// The second fragment of a datagram has no ports; it follows the first
		// one in its queue.
		if k.SrcPort|k.DstPort == 0 && last.Src == k.Src && last.Dst == k.Dst && last.Proto == k.Proto {
			return src.last
		}
	}
	f := t.flows[k]
	if f == nil {
		if t.share(&k) {
			if f = t.flows[k]; f != nil {
				t.heed(f, now)
				return f
			}
		}
		f = t.openFlow(src, k, packet.TOS(p), now)
	} else {
		t.heed(f, now)
	}
	if src != nil {
		src.last = f
	}
	return f
}

// share makes of the key of a new flow that of one which others share, and says so, where it or
// all have as many as they may.
func (t *table) share(k *packet.Key) bool {
	end, inside := k.Inside(t.client)
	switch {
	case len(t.flows) >= maxFlows:
		*k = packet.Key{}
	case !inside || t.ends[end] < maxFlowsEach:
		return false
	case t.client:
		k.Dst, k.DstPort = [16]byte{}, 0
	default:
		k.Src, k.SrcPort = [16]byte{}, 0
	}
	return true
}

func (t *table) openFlow(src *Source, k packet.Key, tos uint8, now int64) *fq.Flow {
	f := t.addFlow(k, now)
	if src != nil {
		f.User = src.User
	}
	f.TOS = tos
	t.judge(f)
	f.Band = f.Place()
	return f
}

// judge gives a flow the class that is asked for it, or else a flow of datagrams the one
// of a rule. It returns false where neither says anything.
func (t *table) judge(f *fq.Flow) bool {
	if f.Wish != nil && f.Wish.Asked {
		f.Class, f.Forced, f.Why = f.Wish.Class, true, "asked"
		return true
	}
	if f.Stream != nil {
		return false
	}
	remote, port := f.Key.Dst, f.Key.DstPort
	if !t.client {
		remote, port = f.Key.Src, f.Key.SrcPort
	}
	c, ok := Ruled(t.rules, f.User, remote, port, f.TOS)
	if ok {
		f.Class, f.Forced, f.Why = c, true, "rule"
	}
	return ok
}

// addFlow makes a flow that no rule is asked about.
func (t *table) addFlow(k packet.Key, now int64) *fq.Flow {
	f := fq.NewFlow(k, t.turn)
	f.Wish, f.Judged = t.wishes.of(&k, t.client, now), t.wishes.turn
	if t.mode.policy().pinned {
		f.Forced, f.Why = true, "mode latency"
	}
	if end, inside := k.Inside(t.client); inside && t.flows[k] == nil {
		t.ends[end]++
	}
	t.flows[k] = f
	return f
}

// forget takes a flow out of the table.
func (t *table) forget(f *fq.Flow) {
	if end, inside := f.Key.Inside(t.client); inside {
		if t.ends[end]--; t.ends[end] == 0 {
			delete(t.ends, end)
		}
	}
	delete(t.flows, f.Key)
	f.Key = packet.Key{Proto: 255} // a Source that still points here must not match
}

// setPolicy puts another mode and other rules in the place of those that the session
// began with. Flows that are there are judged anew.
func (t *table) setPolicy(mode Mode, rules []Rule) {
	t.mode, t.rules = mode, rules
	for _, f := range t.flows {
		t.anew(f)
	}
}

// anew judges a flow as if it began.
func (t *table) anew(f *fq.Flow) {
	p := t.mode.policy()
	f.Forced, f.Class, f.Why = p.pinned, fq.ClassLatency, "new"
	if f.Forced {
		f.Why = "mode latency"
	}
	if !t.judge(f) && !f.Forced && f.Packets > 0 {
		reclassify(f, p)
	}
	t.queue.SetBand(f, f.Place())
}

// heed looks whether something else is asked for a flow than when it was last looked at.
func (t *table) heed(f *fq.Flow, now int64) {
	if f.Judged == t.wishes.turn {
		return
	}
	w := t.wishes.of(&f.Key, t.client, now)
	f.Judged = t.wishes.turn
	if w != f.Wish {
		f.Wish = w
		t.anew(f)
	}
}

// streamFlow returns the flow of a stream. Rules are for UDP: the addresses here are
// those of the two hosts in the tunnel, whatever a CONNECT is for.
func (t *table) streamFlow(k packet.Key, st fq.Puller, now int64) *fq.Flow {
	f := t.flows[k]
	if f == nil || f.Stream != st {
		if f != nil {
			t.queue.Clear(f, fq.DropRenewed)
		}
		f = t.addFlow(k, now)
		f.Stream = st
		t.judge(f)
		f.Band = f.Place()
		return f
	}
	t.heed(f, now)
	return f
}

// classify counts one packet and moves the flow to the class it behaves like.
func (t *table) classify(f *fq.Flow, n int, payload []byte, now int64) {
	f.Active = now
	large := f.Behaviour.Note(now, n, f.Large)
	if payload != nil && f.Packets < 16 {
		f.Behaviour.See(payload)
	}
	if f.Forced || (large == f.Large && f.Packets != 0) {
		return
	}
	f.Large = large
	reclassify(f, t.mode.policy())
	t.queue.SetBand(f, f.Place())
}

// reclassify gives the flow the class of what it does.
func reclassify(f *fq.Flow, p *policy) {
	switch large := f.Large; {
	case !large && !p.aggregate:
		f.Class, f.Why = fq.ClassLatency, "small"
	case !large && f.Stream == nil && !f.Behaviour.QUIC:
		f.Class, f.Why = fq.ClassBulk, "mode aggregate"
	case f.Stream != nil:
		f.Class, f.Why = fq.ClassBulk, "large stream"
	case f.Behaviour.QUIC:
		f.Class, f.Why = fq.ClassOrdered, "large, looks like QUIC"
	default:
		f.Class, f.Why = fq.ClassBulk, "large"
	}
}

// sweep forgets idle flows and those of ended streams. It looks at a few,
// beginning anywhere, so that it never takes long.
func (t *table) sweep(now int64) {
	if !t.client {
		t.wishes.sweep(now)
	}
	n := 0
	for _, f := range t.flows {
		if n++; n > 1024 {
			return
		}
		if !f.Idle() {
			continue
		}
		if now-f.Active > flowIdle || (f.Stream != nil && f.Stream.Ended()) {
			t.forget(f)
		}
	}
}

// largest returns the n flows that sent most, the largest first. It looks at all
// of them: no more than a comparison each.
func (t *table) largest(n int) []*fq.Flow {
	top := make([]*fq.Flow, 0, n)
	least := 0 // its place in top
	for _, f := range t.flows {
		if len(top) < n {
			top = append(top, f)
			if len(top) < n {
				continue
			}
		} else {
			if f.Octets <= top[least].Octets {
				continue
			}
			top[least] = f
		}
		for i := range top {
			if top[i].Octets < top[least].Octets {
				least = i
			}
		}
	}
	slices.SortFunc(top, func(a, b *fq.Flow) int { return cmp.Compare(b.Octets, a.Octets) })
	return top
}
