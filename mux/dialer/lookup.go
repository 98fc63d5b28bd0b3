package dialer

import (
	"context"
	"net"
	"net/netip"
	"time"
)

// How a name of the server is looked up. The system's resolver waits for the answers of
// both families, and for a name server that is silent 5 s before it asks the next one:
// a dialling that could begin with one address would wait as long.

const (
	// lookupSlow is when the families are asked for one by one, beside the lookup of both.
	lookupSlow = 300 * time.Millisecond
	// lookupDelay is how long one family's answer waits for the other's (RFC 8305,
	// Section 3: its Resolution Delay).
	lookupDelay = 50 * time.Millisecond
	// lookupTurn is how long each name server has then before the next one is asked.
	lookupTurn = time.Second
)

func systemLookup(ctx context.Context, way *Way, host string) ([]netip.Addr, error) {
	whole, quick := net.DefaultResolver, way
	if way != nil {
		whole = &net.Resolver{PreferGo: true, Dial: way.dialResolver} // cgo cannot be bound
	} else {
		quick = &Way{}
	}
	inTurns := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := quick.dialResolver(ctx, network, address)
		if u, ok := conn.(*net.UDPConn); ok {
			return hastyConn{u, lookupTurn}, err
		}
		return conn, err
	}}
	return hedged(ctx, func(ctx context.Context, network string) ([]netip.Addr, error) {
		if network == "ip" {
			return whole.LookupNetIP(ctx, network, host)
		}
		return inTurns.LookupNetIP(ctx, network, host)
	})
}

// hedged looks up both families at once, and if that is slow each by itself: the first that
// finds something is waited for, and the rest for a moment longer.
func hedged(ctx context.Context, lookup func(ctx context.Context, network string) ([]netip.Addr, error)) ([]netip.Addr, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		network string
		addrs   []netip.Addr
		err     error
	}
	results := make(chan result, 3) // of as many goroutines, which end with ctx
	begin := func(network string) {
		go func() {
			addrs, err := lookup(ctx, network)
			results <- result{network, addrs, err}
		}()
	}
	begin("ip")
	slow := time.NewTimer(lookupSlow)
	defer slow.Stop()
	var late <-chan time.Time
	var found []netip.Addr
	var whole error
	families := 2
	for left := 1; left > 0; {
		select {
		case <-slow.C:
			begin("ip4")
			begin("ip6")
			left += 2
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
				found = append(found, r.addrs...)
				late = time.After(lookupDelay)
			}
			if families--; families == 0 && found != nil {
				return found, nil
			}
		}
	}
	if found == nil {
		return nil, whole
	}
	return found, nil
}

// hastyConn is a socket to a name server that has less time than others to answer. The
// resolver tells by the type that it carries datagrams.
type hastyConn struct {
	*net.UDPConn
	most time.Duration
}

// SetDeadline keeps the deadline near.
func (c hastyConn) SetDeadline(t time.Time) error {
	if near := time.Now().Add(c.most); t.IsZero() || t.After(near) {
		t = near
	}
	return c.UDPConn.SetDeadline(t)
}
