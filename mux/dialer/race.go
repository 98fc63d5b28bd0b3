package dialer

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"
)

const (
	// Stagger is the head start of one server address over the next (RFC 8305,
	// Section 5), and how much longer than TCP's own handshake the proof may take
	// before the next one begins.
	Stagger = 250 * time.Millisecond
	// stall is how long an address that took the connection may be silent before
	// the path is suspected of losing large packets, and again how much longer before
	// those that are tried then are.
	stall = 600 * time.Millisecond
	again = 400 * time.Millisecond
	// grace is how long larger packets have once smaller ones got through.
	// They begin again then, once: what did not answer before may have been away.
	grace = 200 * time.Millisecond
	// retryPause is how long after its failure an address is tried again, while others
	// have taken the connection and are silent; each further time twice as long, up to
	// retryMost times, and not when the race is older than retryFor.
	retryPause = 200 * time.Millisecond
	retryMost  = 4
	retryFor   = 5 * time.Second
	// freshEvery is how often an address that takes connections and is silent is asked by
	// a new one: a load balancer, or a captive portal, leads a connection where it led it
	// when it was made, and may lead others elsewhere by now.
	freshEvery = time.Second
	// suspectAfter is how long everybody may be silent before that is said.
	suspectAfter = 500 * time.Millisecond
	// lossySlack is how much more than twice the shortest time TCP's handshake may take at an address
	// before some of its packets count as lost, and lossyMost how long in any case: the first SYN goes
	// again then (RFC 6298, Section 2).
	lossySlack = 100 * time.Millisecond
	lossyMost  = time.Second
	// step is how often the race is looked at.
	step = 25 * time.Millisecond
)

// sizes are those of packets, in bytes, that may get through where large ones seem to get
// lost: PPPoE's (RFC 2516), what LTE and tunnels leave, IPv6's least, what tunnels within tunnels
// leave, and what every host takes (RFC 791, Section 3.1). From probed on they are tried in turn,
// until one gets through: then the larger ones, all at once.
var sizes = []int{1492, 1400, 1280, 1000, 576}

const probed = 1280

// Segment is how large a TCP segment may be, as TCP_MAXSEG counts it (options are within),
// so that packets to an address keep to an MTU; 0 for 0, which is any.
func Segment(mtu int, to netip.Addr) int {
	const v4, v6, tcp = 20, 40, 20
	switch {
	case mtu == 0:
		return 0
	case to.Unmap().Is4():
		return mtu - v4 - tcp
	}
	return mtu - v6 - tcp
}

// A Race tries addresses, each a little after the one before, until one proves that
// it is the server: an address that only takes connections wins nothing. What was
// begun and does not win is cancelled.
type Race[T any] struct {
	// Targets lists the addresses, the best first; it is asked again while names
	// are being resolved, which is what asking says.
	Targets func() (addrs []netip.AddrPort, asking bool)
	// Try makes one attempt, with packets of mtu bytes at most (0 = as they are).
	// It calls connected when TCP is through, with how long that took, and returns when the
	// server has proved its key.
	Try func(ctx context.Context, a netip.AddrPort, mtu int, connected func(took time.Duration)) (T, error)
	// Drop ends what came too late.
	Drop func(T)
	// Go starts a goroutine, which ends with Run's context.
	Go func(func())
	// MTU is what is known to get through on this path; 0 = nothing is known.
	MTU int
	// Narrow says that the path seems to lose large packets: small ones are tried beside
	// from the beginning.
	Narrow bool
	// Stagger is the head start of one address over the next; 0 = Stagger of this package.
	Stagger time.Duration
	// Timeout is how long TCP's handshake may take: no other address begins later, unless
	// all that are under way are silent.
	Timeout time.Duration
	// Silent is told the addresses once all that are known have failed or have taken the
	// connection and said nothing for a while; nil = nobody is.
	Silent func(*SilentError)
}

// A SilentError says that addresses took connections, and that nothing came by them, by
// small packets neither.
type SilentError struct{ Addrs []netip.AddrPort }

func (e *SilentError) Error() string {
	var list []string
	for _, a := range e.Addrs {
		list = append(list, a.String())
	}
	if len(list) == 1 {
		return list[0] + " takes connections and does not answer"
	}
	return strings.Join(list, ", ") + " take connections and do not answer"
}

// Result is the attempt that won.
type Result[T any] struct {
	Value T
	Addr  netip.AddrPort
	MTU   int
	// Lossy says that small packets seem to have got lost meanwhile too, those of TCP's handshakes
	// with that address: what larger ones did says nothing of their size then.
	Lossy bool
	// Beaten are the addresses that had their chance before and did not prove
	// anything.
	Beaten []netip.AddrPort
}

// attempt is one that is under way.
type attempt struct {
	addr      netip.AddrPort
	mtu       int
	began     time.Time
	connected time.Time     // zero: not yet,
	took      time.Duration // and how long TCP took, perhaps from before it began
	clamped   bool          // another one with smaller packets has begun
	over      bool
	ended     time.Time // when it failed
	retried   bool      // it was not the first, as it had failed
}

// doubtful says that packets larger than those that won may yet get through to that
// address.
func doubtful(all []*attempt, a netip.AddrPort, mtu int) bool {
	return slices.ContainsFunc(all, func(t *attempt) bool { return !t.over && t.addr == a && Larger(t.mtu, mtu) })
}

// Larger says that packets of a are larger than those of b; 0 is any size.
func Larger(a, b int) bool { return b != 0 && (a == 0 || a > b) }

// lossy says that some of TCP's handshakes with an address have lost packets, as far as can be seen
// from how long they took, or have been under way.
func lossy(all []*attempt, a netip.AddrPort, now time.Time) bool {
	least, most := lossyMost, time.Duration(0)
	for _, t := range all {
		if t.addr != a {
			continue
		}
		took := now.Sub(t.began)
		switch {
		case !t.connected.IsZero():
			took = t.took
			least = min(least, took)
		case t.over:
			took = t.ended.Sub(t.began)
		}
		most = max(most, took)
	}
	return most > min(2*least+lossySlack, lossyMost)
}

// next returns the address whose turn it is to begin, if that is now.
func (r *Race[T]) next(addrs []netip.AddrPort, all []*attempt, now time.Time, early bool) (a netip.AddrPort, ok bool) {
	i := slices.IndexFunc(addrs, func(a netip.AddrPort) bool {
		return !slices.ContainsFunc(all, func(t *attempt) bool { return t.addr == a })
	})
	if i < 0 || !early {
		return a, false
	}
	for _, t := range all {
		if !t.over && now.Before(t.patience(cmp.Or(r.Stagger, Stagger))) {
			return a, false
		}
	}
	return addrs[i], true
}

// retry returns an address to try again, if one is due: it has failed, and whoever is
// still under way may be silent for ever. What stands before several servers may by now
// lead to another one.
func retry(all []*attempt, now time.Time) (a netip.AddrPort, ok bool) {
	if !slices.ContainsFunc(all, func(t *attempt) bool { return !t.over }) {
		return a, false // the race is over, and the next one begins with all of them
	}
	for _, t := range all {
		tries, latest, runs := 0, time.Time{}, false
		for _, o := range all {
			if o.addr == t.addr {
				if o.retried {
					tries++
				}
				runs = runs || !o.over
				if o.ended.After(latest) {
					latest = o.ended
				}
			}
		}
		if !runs && tries < retryMost && !latest.IsZero() && now.Sub(latest) >= retryPause<<tries {
			return t.addr, true
		}
	}
	return a, false
}

// fresh returns an address to ask by another connection, if one is due: it has taken one
// long ago, and is silent.
func fresh(all []*attempt, now time.Time) (a netip.AddrPort, ok bool) {
	for _, t := range all {
		if t.over || !t.mute(now, stall) {
			continue
		}
		young := slices.ContainsFunc(all, func(o *attempt) bool {
			return o.addr == t.addr && now.Sub(o.began) < max(freshEvery, 4*t.took)
		})
		if !young {
			return t.addr, true
		}
	}
	return a, false
}

// silent returns the addresses that have taken a connection and said nothing for a while, if
// nothing else is under way: else nil.
func silent(all []*attempt, now time.Time) *SilentError {
	var e SilentError
	for _, t := range all {
		if !t.over && t.mute(now, suspectAfter) && !slices.Contains(e.Addrs, t.addr) {
			e.Addrs = append(e.Addrs, t.addr)
		}
	}
	if e.Addrs == nil || slices.ContainsFunc(all, func(t *attempt) bool { return !t.over && !slices.Contains(e.Addrs, t.addr) }) {
		return nil
	}
	return &e
}

// hopeless says that none of what is under way is young enough to hope for.
func hopeless(all []*attempt, now time.Time) bool {
	return !slices.ContainsFunc(all, func(t *attempt) bool { return !t.over && !t.mute(now, t.stall()) })
}

// mute says that TCP is through, and nothing has come for that long since; one that is far
// has longer.
func (t *attempt) mute(now time.Time, long time.Duration) bool {
	return !t.connected.IsZero() && now.Sub(t.connected) >= max(long, 4*t.took)
}

// patience is until when an attempt keeps others from beginning.
func (t *attempt) patience(stagger time.Duration) time.Time {
	if t.connected.IsZero() {
		return t.began.Add(stagger)
	}
	// The proof takes one round trip more than TCP did, and a slow machine's time.
	return t.connected.Add(max(stagger, 2*t.took))
}

// stall is how long the attempt may be silent before smaller packets are tried.
func (t *attempt) stall() time.Duration {
	if t.mtu == 0 {
		return stall
	}
	return again // the path is suspected already
}

// smaller returns the attempt to make with smaller packets, if one is due: an
// address took the connection and is silent.
func (r *Race[T]) smaller(all []*attempt, now time.Time) (a netip.AddrPort, mtu int, ok bool) {
	for _, t := range all {
		if t.over || t.clamped || !t.mute(now, t.stall()) {
			continue
		}
		t.clamped = true
		for _, s := range sizes {
			if s <= probed && Larger(t.mtu, s) {
				return t.addr, s, true
			}
		}
	}
	return a, 0, false
}

// beaten lists the addresses that began well before the winner.
func beaten(all []*attempt, winner *attempt) (addrs []netip.AddrPort) {
	took := time.Since(winner.began)
	for _, t := range all {
		if t.addr != winner.addr && (t.over || time.Since(t.began) > 3*took+Stagger/2) && !slices.Contains(addrs, t.addr) {
			addrs = append(addrs, t.addr)
		}
	}
	return addrs
}

// failed lists the addresses that were tried.
func failed(all []*attempt) (addrs []netip.AddrPort) {
	for _, t := range all {
		if !slices.Contains(addrs, t.addr) {
			addrs = append(addrs, t.addr)
		}
	}
	return addrs
}
