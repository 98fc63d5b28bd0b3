package client

import (
	"net/netip"
	"slices"
	"sync/atomic"
	"time"
)

const (
	// maxNamed is how many flows to names an inner port remembers; the one that
	// was used the longest ago gives way.
	maxNamed = 8
	// namedIdle is how long a flow lives without a datagram of the application:
	// as long as the mapping at the exit does at least (RFC 4787, REQ-5). Then
	// the next datagram is of a new flow.
	namedIdle = 2 * time.Minute
	// leaveNew and leaveOld are how long the address of a flow may not answer,
	// when it never has and when it has before, and leaveTries how many
	// datagrams it gets at least: then the flow goes to another address of the
	// name, if there is one.
	leaveNew, leaveOld = 3 * time.Second, 15 * time.Second
	leaveTries         = 3
	// shunTime is how long new flows do not begin with an address that was left.
	shunTime = time.Minute
	// maxShunned is how many such addresses a name remembers.
	maxShunned = 8
)

// named is one flow to a name: it keeps the address that it began with, whatever
// the name means meanwhile.
type named struct {
	name *name
	port uint16
	addr netip.Addr // set once

	// Guarded by the inner's mutex.
	used   time.Time // the newest datagram
	since  time.Time // the first one after the last answer
	tries  int       // datagrams since then
	proven bool      // it has answered before

	heard atomic.Bool // an answer has come since the last datagram
}

// shunned is an address that a flow has left.
type shunned struct {
	addr  netip.Addr
	until time.Time
}

// flowTo finds the live flow to a name. in.mu is held.
func (in *inner) flowTo(host []byte, port uint16, now time.Time) *named {
	list := in.named.Load()
	if list == nil {
		return nil
	}
	for _, f := range *list {
		if f.port == port && sameHost(host, f.name.host) {
			if now.Sub(f.used) > namedIdle {
				return nil
			}
			return f
		}
	}
	return nil
}

// begin makes a flow to an address of a name, in the place of an older one to
// that name. in.mu is held.
func (in *inner) begin(n *name, port uint16, addr netip.Addr, now time.Time) *named {
	f := &named{name: n, port: port, addr: addr, used: now, since: now}
	var list []*named // a new one: deliveries read the old one
	if old := in.named.Load(); old != nil {
		list = slices.Clone(*old)
	}
	at := slices.IndexFunc(list, func(o *named) bool { return o.name.host == n.host && o.port == port })
	if at < 0 && len(list) >= maxNamed {
		at = 0
		for i, o := range list {
			if o.used.Before(list[at].used) {
				at = i
			}
		}
	}
	if at < 0 {
		list = append(list, f)
	} else {
		list[at] = f
	}
	in.named.Store(&list)
	return f
}

// next is the address for the flow's next datagram: its own, unless that does
// not answer and the name has another one. in.mu is held.
func (in *inner) next(f *named, now time.Time) netip.Addr {
	f.used = now
	if f.heard.Load() {
		f.heard.Store(false)
		f.proven, f.tries = true, 0
	}
	if f.tries == 0 {
		f.since = now
	}
	f.tries++
	limit := leaveNew
	if f.proven {
		limit = leaveOld
	}
	if f.tries <= leaveTries || now.Sub(f.since) < limit {
		return f.addr
	}
	f.tries = 0 // and look again after a while
	a := f.name.answer.Load()
	if a == nil || !a.addr.IsValid() {
		return f.addr
	}
	if now.After(a.fresh) {
		in.client.names.refresh(f.name, in.holder, now)
	}
	f.name.shun(f.addr, now)
	to := f.name.choose(a, now)
	if to == f.addr || f.name.shuns(to, now) {
		return f.addr // all of them are no better
	}
	return in.begin(f.name, f.port, to, now).addr
}

// answered notes that a flow's address has sent something. Deliveries call it,
// without the mutex.
func (in *inner) answered(from netip.AddrPort) {
	list := in.named.Load()
	if list == nil {
		return
	}
	for _, f := range *list {
		if f.addr == from.Addr() && !f.heard.Load() {
			f.heard.Store(true)
		}
	}
}

// choose returns the address that a new flow begins with: the first one of the
// answer that nobody had to leave lately.
func (n *name) choose(a *answer, now time.Time) netip.Addr {
	if !n.shuns(a.addr, now) {
		return a.addr
	}
	for _, other := range a.others {
		if !n.shuns(other, now) {
			return other
		}
	}
	return a.addr
}

// shuns says whether an address was left lately.
func (n *name) shuns(addr netip.Addr, now time.Time) bool {
	list := n.shunned.Load()
	return list != nil && slices.ContainsFunc(*list, func(s shunned) bool { return s.addr == addr && now.Before(s.until) })
}

// shun notes that an address was left.
func (n *name) shun(addr netip.Addr, now time.Time) {
	for {
		old := n.shunned.Load()
		list := []shunned{{addr, now.Add(shunTime)}}
		if old != nil {
			for _, s := range *old {
				if s.addr != addr && now.Before(s.until) && len(list) < maxShunned {
					list = append(list, s)
				}
			}
		}
		if n.shunned.CompareAndSwap(old, &list) {
			return
		}
	}
}
