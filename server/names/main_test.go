package names

import (
	"context"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/mpsocks/mpsocks/server/names/namestest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// upstreams is a resolv.conf with these servers.
func upstreams(at ...netip.AddrPort) func() Upstreams {
	return func() Upstreams { return Upstreams{Servers: at, Ndots: 1} }
}

// only is a Resolver that asks these name servers alone.
func only(life context.Context, at ...netip.AddrPort) *Resolver {
	return with(life, Sources{Upstreams: upstreams(at...)})
}

// with is a Resolver that knows no more than from says, with room for many.
func with(life context.Context, from Sources) *Resolver {
	if from.Hosts == nil {
		from.Hosts = namestest.None
	}
	if from.System == nil {
		from.System = namestest.None
	}
	return New(life, Config{All: 1 << 20, Each: 1 << 20, Sources: from})
}

func addrsOf(texts ...string) (out []netip.Addr) {
	for _, t := range texts {
		out = append(out, netip.MustParseAddr(t))
	}
	return out
}

var sameAddrs = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
