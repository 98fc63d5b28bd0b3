package dialer

import (
	"context"
	"net"
	"net/netip"
	"time"
)

// How a name of the server is looked up. The system's resolver waits for the answers of
// both families, and for a name server that is silent 5 s before it asks the next one:
// a dialling that could begin with one address would wait as long. What a name server says
// after these 5 s it does not hear.

const (
	// lookupSlow is when the families are asked for one by one, beside the lookup of both.
	lookupSlow = 300 * time.Millisecond
	// lookupDelay is how long one family's answer waits for the other's (RFC 8305,
	// Section 3: its Resolution Delay).
	lookupDelay = 50 * time.Millisecond
	// lookupTurn is how long each name server has then before the next one is asked.
	lookupTurn = time.Second
	// lookupPatience is how long the first name server has of those who wait for it beside the
	// others: nearly all the time there is.
	lookupPatience = lookupTimeout - 2*lookupSlow
)

func systemLookup(ctx context.Context, way *Way, host string) ([]netip.Addr, error) {
	whole, quick := net.DefaultResolver, way
	if way != nil {
		whole = &net.Resolver{PreferGo: true, Dial: way.dialResolver} // cgo cannot be bound
	} else {
		quick = &Way{}
	}
	return hedged(ctx, func(ctx context.Context, network string, each time.Duration) ([]netip.Addr, error) {
		if each == 0 {
			return whole.LookupNetIP(ctx, network, host)
		}
		timed := &net.Resolver{PreferGo: true, Dial: func(dialling context.Context, network, address string) (net.Conn, error) {
			conn, err := quick.dialResolver(dialling, network, address)
			u, ok := conn.(*net.UDPConn)
			if !ok {
				return conn, err
			}
			context.AfterFunc(ctx, func() { _ = u.SetDeadline(time.Unix(1, 0)) })
			return timedConn{u, each}, err
		}}
		return timed.LookupNetIP(ctx, network, host)
	})
}

// hedged looks up both families at once, and if that is slow each by itself, by lookups that
// give each name server so much time, little and much: the first that
// finds something is waited for, and the rest for a moment longer.
func hedged(ctx context.Context, lookup func(ctx context.Context, network string, each time.Duration) ([]netip.Addr, error)) ([]netip.Addr, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		network string
		addrs   []netip.Addr
		err     error
	}
	results := make(chan result, 5) // of as many goroutines, which end with ctx
	begin := func(network string, each time.Duration) {
		go func() {
			addrs, err := lookup(ctx, network, each)
			results <- result{network, addrs, err}
		}()
	}
	begin("ip", 0)
	slow := time.NewTimer(lookupSlow)
	defer slow.Stop()
	var late <-chan time.Time
	var found []netip.Addr
	var whole error
	has := make(map[string]bool) // the families of found
	for left := 1; left > 0; {
		select {
		case <-slow.C:
			for _, family := range []string{"ip4", "ip6"} {
				begin(family, lookupTurn)
				begin(family, lookupPatience)
				left += 2
			}
		case <-late:
			return found, nil
		case r := <-results:
			left--
			switch {
			case r.network == "ip" && (r.err == nil || found == nil && left == 0):
				return r.addrs, r.err
			case r.network == "ip":
				whole = r.err
				continue
			case r.err == nil && len(r.addrs) > 0:
				if found == nil {
					late = time.After(lookupDelay)
				}
				if !has[r.network] {
					found = append(found, r.addrs...)
				}
				if has[r.network] = true; len(has) == 2 {
					return found, nil
				}
			}
		}
	}
	if found == nil {
		return nil, whole
	}
	return found, nil
}

// timedConn is a socket to a name server that has less time than others to answer, or more.
// The resolver tells by the type that it carries datagrams.
type timedConn struct {
	*net.UDPConn
	each time.Duration
}

// SetDeadline has the deadline be when its own time is over.
func (c timedConn) SetDeadline(time.Time) error {
	return c.UDPConn.SetDeadline(time.Now().Add(c.each))
}
