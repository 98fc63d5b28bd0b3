package names

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	// resolutionDelay is how long the IPv4 addresses of a name wait for the IPv6
	// ones: RFC 8305, Section 3.
	resolutionDelay = 50 * time.Millisecond
	// otherTime is how long the other family is waited for at least when the first one is there:
	// where a name takes long, both do.
	otherTime = time.Second
)

var errNoName = errors.New("no such name")

// Found is what one family's question of a CONNECT brought.
type Found struct {
	Addrs []netip.Addr
	Err   error // why there are none
}

// Lookup asks for both families of a host on behalf of a client, in its turn, and returns as addrs
// does. late is called, from a goroutine of its own, when the client's place goes to another
// name though this one is still being asked for.
func (r *Resolver) Lookup(ctx context.Context, c *Client, host string, late func()) (first Found, more <-chan Found) {
	turn, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	if !r.asking.Await(turn, &c.asking) {
		return Found{Err: errors.New("too many names are being resolved")}, nil
	}
	begun := time.Now()
	give := r.hold(c, late)
	// The other family may come later than this returns, but not that much.
	ctx, cancel = context.WithTimeout(asks(ctx, c), lateTime)
	first, more = r.addrs(ctx, host, func() { cancel(); give() })
	if more != nil {
		time.AfterFunc(max(queryTimeout-time.Since(begun), otherTime), cancel)
	}
	return first, more
}

// IPv6 returns the IPv6 addresses of a host for the server itself; false if nobody could tell.
func (r *Resolver) IPv6(ctx context.Context, host string) ([]netip.Addr, bool) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	k := r.find(ctx, host, dnsmessage.TypeAAAA)
	if k.failed() {
		return nil, false
	}
	return k.addrs, true
}

// addrs looks up both families of a host. It returns with the first addresses that
// there are; IPv4 waits a moment for IPv6. The other family's come by more, unless
// that is nil: ctx has to last until then. done is called when nothing is asked any more.
func (r *Resolver) addrs(ctx context.Context, host string, done func()) (first Found, more <-chan Found) {
	results := [2]chan Found{make(chan Found, 1), make(chan Found, 1)}
	var asking atomic.Int32
	asking.Store(2)
	for i, kind := range []dnsmessage.Type{dnsmessage.TypeAAAA, dnsmessage.TypeA} {
		go func() { // until the answer, or ctx
			k := r.find(ctx, host, kind)
			if asking.Add(-1) == 0 {
				done()
			}
			switch {
			case k.failed():
				results[i] <- Found{Err: errors.New("nobody answers for the name")}
			case len(k.addrs) == 0:
				results[i] <- Found{Err: errNoName}
			default:
				results[i] <- Found{Addrs: k.addrs}
			}
		}()
	}
	var six, four Found
	select {
	case six = <-results[0]:
		if six.Err == nil {
			return six, results[1]
		}
		four = <-results[1]
		return four.or(six), nil
	case four = <-results[1]:
	}
	if four.Err != nil {
		six = <-results[0]
		return six.or(four), nil
	}
	wait := time.NewTimer(resolutionDelay)
	defer wait.Stop()
	select {
	case six = <-results[0]:
		four.Addrs = slices.Concat(six.Addrs, four.Addrs) // what is remembered stays as it is
		return four, nil
	case <-wait.C:
		return four, results[0]
	}
}

// or is f, or other if that says more about why there are no addresses.
func (f Found) or(other Found) Found {
	if f.Err == errNoName && other.Err != nil {
		return other
	}
	return f
}
