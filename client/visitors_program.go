package client

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/mux/lull"
	"github.com/mpsocks/mpsocks/mux/udpio"
	"github.com/mpsocks/mpsocks/mux/zones"
)

// Where the program is that a published UDP port leads to.

const (
	// resolveAgain is how often a name that was not found is looked up again: the name server, or
	// the machine that has it, may start later. resolveAnew is how often one is that was found, as
	// another address may be given to that machine.
	resolveAgain, resolveAnew = 10 * time.Second, time.Minute
	// turnPause is how long one of a name's addresses is kept at least, whoever refuses there.
	turnPause = 200 * time.Millisecond
)

// resolve finds the program's addresses; a name may be of this machine's network. What the
// configuration no longer says when the answer comes does not count, and an address that is still
// one of the name's stays.
func (v *visitors) resolve(ctx context.Context) {
	r := *v.publication.route.Load()
	list, err := v.lookup(ctx, "ip", r.Host)
	if err != nil || len(list) == 0 {
		if ctx.Err() == nil && v.target.Load() == nil && !v.lacking.Swap(true) {
			v.publication.line(zerolog.WarnLevel).Err(err).Str("to", r.To()).Msg("the program of a published port is not found")
		}
		return
	}
	v.lacking.Store(false)
	v.table.Lock()
	defer v.table.Unlock()
	if *v.publication.route.Load() != r {
		return
	}
	v.found = nil
	for _, a := range list {
		v.found = append(v.found, programAt(a, r.Port))
	}
	if was := v.target.Load(); was == nil || !slices.Contains(v.found, *was) {
		v.lead(programAt(likeliest(list), r.Port))
	}
}

// likeliest returns the address of a program's name at which it most probably is: the first, but
// of this machine's own IPv4's, as programs that take both have that too, and many take no other.
func likeliest(list []netip.Addr) netip.Addr {
	if list[0].Unmap().IsLoopback() {
		for _, a := range list {
			if a := a.Unmap(); a.Is4() && a.IsLoopback() {
				return a
			}
		}
	}
	return list[0]
}

// programAt is a program's address as its datagrams have it: a zone is an interface's name there.
func programAt(a netip.Addr, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(zones.Named(a).Unmap(), port)
}

// refused is told by a visitor's socket that a datagram did not arrive. The Loop calls it.
func (v *visitors) refused(_ *udpio.Conn, f *udpio.Failure) {
	select {
	case v.refusals <- f.To:
	default:
	}
}

// turn leads to the next of the program's addresses, as nobody is at the one that it leads to. The
// name may have one of each family, and the program take one of them alone.
func (v *visitors) turn(from netip.AddrPort) {
	v.table.Lock()
	defer v.table.Unlock()
	i := slices.Index(v.found, from)
	if to := v.target.Load(); to == nil || *to != from || i < 0 || len(v.found) < 2 {
		return
	}
	v.lead(v.found[(i+1)%len(v.found)])
}

// follow leads the visitors elsewhere when the configuration says so, a name has another
// address or nobody is at one of its addresses, and looks for a program that was not found, until
// ctx ends.
func (v *visitors) follow(ctx context.Context) {
	for {
		rest := resolveAnew
		if v.target.Load() == nil {
			rest = resolveAgain
		}
		if !v.wait(ctx, rest) {
			return
		}
		v.resolve(ctx)
	}
}

// wait returns when the program is to be looked for, after rest at the latest; false if ctx has ended.
func (v *visitors) wait(ctx context.Context, rest time.Duration) bool {
	end := time.NewTimer(rest)
	defer end.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-end.C:
			return true
		case from := <-v.refusals:
			v.turn(from)
			lull.Pause(ctx, turnPause)
		case <-v.publication.moved:
			v.table.Lock()
			v.target.Store(nil)
			v.leave()
			v.table.Unlock()
			return true
		}
	}
}

// lead has the program be there. The caller holds v.table.
func (v *visitors) lead(to netip.AddrPort) {
	v.target.Store(&to)
	v.leave()
}

// leave ends all visitors, as the program is elsewhere: whoever was there gets another port of this
// machine, for the old may be one that the new program cannot answer. The caller holds v.table.
func (v *visitors) leave() {
	for from, one := range v.by {
		v.drop(from, one)
	}
}
