package names

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sync/singleflight"

	"github.com/mpsocks/mpsocks/mux/gate"
	"github.com/mpsocks/mpsocks/mux/records"
	"github.com/mpsocks/mpsocks/mux/resolvconf"
	"github.com/mpsocks/mpsocks/mux/turns"
)

// A Lookup is the form of net.Resolver.LookupNetIP.
type Lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)

// Sources are where a Resolver finds out what names mean. What is nil is this machine's.
type Sources struct {
	Upstreams func() Upstreams // who is asked
	Hosts     Lookup           // the hosts file alone
	System    Lookup           // where there are no upstreams
	// Ask puts one query to one server, whose question ends at msg[:end], and returns the response.
	Ask func(ctx context.Context, to netip.AddrPort, msg []byte, end int) ([]byte, error)
}

// A Config is what a Resolver is made with.
type Config struct {
	Log zerolog.Logger
	// All and Each are how many names are asked for at once, in all and for one client; 0 is
	// what the files allow that this process may open.
	All, Each int
	// Reach says whether the exit has a route to an address; nil is that nobody knows.
	Reach func(netip.Addr) bool
	Sources
}

// A Resolver knows the addresses of names, for datagrams and CONNECTs alike: those
// of literals, of the hosts file, and what the upstreams of resolv.conf say, with
// its search list. A and AAAA are questions of their own, which nothing joins, and
// their answers are remembered for their TTL. Where there is no resolv.conf, the
// system's resolver is asked. It is safe for concurrent use.
type Resolver struct {
	life   context.Context // of the questions to upstreams
	from   Sources
	reach  func(netip.Addr) bool // or nil
	asking turns.Places

	answers   answers
	questions questions
	flights   singleflight.Group // of *known, by name and kind
}

// New returns a Resolver whose questions to upstreams end with life.
func New(life context.Context, cfg Config) *Resolver {
	r := &Resolver{life: life, from: cfg.Sources, reach: cfg.Reach}
	if r.from.Upstreams == nil {
		r.from.Upstreams = (&resolvConf{path: resolvconf.Path}).read
	}
	if r.from.Hosts == nil {
		// A resolver that cannot reach any upstream knows the hosts file only.
		offline := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
			return nil, errors.New("the hosts file alone")
		}}
		r.from.Hosts = offline.LookupNetIP
	}
	if r.from.System == nil {
		r.from.System = net.DefaultResolver.LookupNetIP
	}
	if r.from.Ask == nil {
		r.from.Ask = ask
	}
	r.questions.put, r.questions.silence.log = r.from.Ask, cfg.Log
	all, each := cfg.All, cfg.Each
	if all == 0 {
		all, each = lookups(gate.Files())
	}
	r.asking.Cap(all, each)
	r.questions.late.Cap(late(all), late(each))
	return r
}

// find returns what is known of a host's addresses of one family, nil if nobody
// could tell. A literal has no name for its owner and needs no question.
func (r *Resolver) find(ctx context.Context, host string, kind dnsmessage.Type) *known {
	if a, ok := Literal(strings.TrimSuffix(host, ".")); ok {
		return ofAddrs([]netip.Addr{a}, kind)
	}
	host = lower(host)
	// The hosts file has names without the final dot.
	if addrs, err := r.from.Hosts(ctx, "ip", strings.TrimSuffix(host, ".")); err == nil {
		return ofAddrs(addrs, kind)
	}
	cfg := r.from.Upstreams()
	if len(cfg.Servers) == 0 {
		addrs, err := r.from.System(ctx, "ip", strings.TrimSuffix(host, "."))
		if dnsErr, ok := errors.AsType[*net.DNSError](err); ok && dnsErr.IsNotFound {
			k := ofAddrs(nil, kind)
			k.code = dnsmessage.RCodeNameError
			return k
		}
		if err != nil {
			return nil
		}
		return ofAddrs(addrs, kind)
	}
	// What there is of the name itself: that none of the longer ones exists says nothing of it.
	var plain *known
	absolute := strings.TrimSuffix(host, ".") + "."
	for _, name := range cfg.candidates(host) {
		k := r.ask(ctx, cfg.Servers, knownKey{name, kind})
		if k != nil && k.code == dnsmessage.RCodeSuccess {
			return k
		}
		if name == absolute {
			plain = k
		}
		if ctx.Err() != nil {
			break
		}
	}
	return plain
}

// Literal reads an address that stands where a name could, with or without
// brackets.
func Literal(host string) (netip.Addr, bool) {
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		host = host[1 : len(host)-1]
	}
	a, err := netip.ParseAddr(host)
	return a.WithZone("").Unmap(), err == nil
}

// ask returns the answer to a question, as it is remembered or as an upstream gives
// it. Those who ask the same at once share one question, which goes on when they have given up:
// the answer serves who asks again.
func (r *Resolver) ask(ctx context.Context, servers []netip.AddrPort, key knownKey) *known {
	if k := r.answers.recall(key); k != nil {
		return k
	}
	who := r.questions.asker(ctx)
	answer := r.flights.DoChan(key.name+" "+key.kind.String(), func() (any, error) {
		ctx, cancel := context.WithTimeout(asksFor(r.life, who), lateTime)
		defer cancel()
		k := r.inquire(ctx, servers, key)
		r.answers.remember(key, k)
		return k, nil
	})
	select {
	case got := <-answer:
		k, _ := got.Val.(*known)
		return k
	case <-ctx.Done():
		return nil
	}
}

// inquire puts a question to the upstreams.
func (r *Resolver) inquire(ctx context.Context, servers []netip.AddrPort, key knownKey) *known {
	query, err := records.AppendQuery(nil, 0, key.name, key.kind)
	if err != nil {
		return nil
	}
	reply := r.questions.exchange(ctx, servers, query, len(query))
	if reply == nil {
		return nil
	}
	k := &known{asked: key.name, at: time.Now()}
	if k.read(reply, key.kind) != nil {
		return nil
	}
	if len(reply) > maxKnownLen || truncated(reply) {
		k.ttl = 0 // half an answer is nobody else's (RFC 2181, Section 9)
	}
	if lame(reply) || truncated(reply) && len(k.addrs) == 0 {
		k.code = dnsmessage.RCodeServerFailure
	}
	return k
}
