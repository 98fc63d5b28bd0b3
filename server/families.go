package server

import (
	"context"
	"errors"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// found is what one family's question of a CONNECT brought.
type found struct {
	addrs []netip.Addr
	err   error
}

// addrs looks up both families of a host. It returns with the first addresses that
// there are; IPv4 waits a moment for IPv6. The other family's come by more, unless
// that is nil: ctx has to last until then. done is called when nothing is asked any more.
func (r *resolver) addrs(ctx context.Context, host string, done func()) (first found, more <-chan found) {
	results := [2]chan found{make(chan found, 1), make(chan found, 1)}
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
				results[i] <- found{err: errors.New("nobody answers for the name")}
			case len(k.addrs) == 0:
				results[i] <- found{err: errNoName}
			default:
				results[i] <- found{addrs: k.addrs}
			}
		}()
	}
	var six, four found
	select {
	case six = <-results[0]:
		if six.err == nil {
			return six, results[1]
		}
		four = <-results[1]
		return four.or(six), nil
	case four = <-results[1]:
	}
	if four.err != nil {
		six = <-results[0]
		return six.or(four), nil
	}
	wait := time.NewTimer(resolutionDelay)
	defer wait.Stop()
	select {
	case six = <-results[0]:
		four.addrs = append(six.addrs, four.addrs...)
		return four, nil
	case <-wait.C:
		return four, results[0]
	}
}

// or is f, or other if that says more about why there are no addresses.
func (f found) or(other found) found {
	if f.err == errNoName && other.err != nil {
		return other
	}
	return f
}
