package server

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
	"unsafe"

	"github.com/rs/zerolog"
	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sync/singleflight"

	"github.com/mpsocks/mpsocks/mux/gate"
	"github.com/mpsocks/mpsocks/mux/turns"
)

const (
	// maxKnown is how many answers are remembered, of at most maxKnownLen bytes each and
	// maxKnownBytes of memory in all, and maxKnownTime for how long at most: a server that
	// moves is found within the hour.
	maxKnown      = 4096
	maxKnownLen   = 4096
	maxKnownBytes = 8 << 20
	maxKnownTime  = time.Hour
	// maxNegativeTime is the same for what does not exist (RFC 2308 allows hours):
	// a name that was just registered should work soon.
	maxNegativeTime = time.Minute
	// resolutionDelay is how long the IPv4 addresses of a name wait for the IPv6
	// ones: RFC 8305, Section 3.
	resolutionDelay = 50 * time.Millisecond
	// maxAddrs is how many addresses of a family are looked at: whoever has a name can give it
	// thousands, and each CONNECT puts them in order.
	maxAddrs = 64
)

var errNoName = errors.New("no such name")

// A lookup is the form of net.Resolver.LookupNetIP.
type lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)

// A resolver knows the addresses of names, for datagrams and CONNECTs alike: those
// of literals, of the hosts file, and what the upstreams of resolv.conf say, with
// its search list. A and AAAA are questions of their own, which nothing joins, and
// their answers are remembered for their TTL. Where there is no resolv.conf, the
// system's resolver is asked. It is safe for concurrent use.
type resolver struct {
	life   context.Context // of the questions to upstreams
	config func() nameConfig
	hosts  lookup // the hosts file alone
	system lookup
	put    func(ctx context.Context, to netip.AddrPort, msg []byte, end int) ([]byte, error) // ask, but in tests
	reach  func(netip.Addr) bool                                                             // whether the exit has a route there; or nil
	asking turns.Places
	late   turns.Places // of questions to upstreams that are under way for queryTimeout; of whom asked first
	own    turns.Holder // of late: the server's own questions

	silence silence            // of all upstreams
	flights singleflight.Group // of *known, by knownKey.String

	mu    sync.Mutex // guards the rest
	known map[knownKey]*known
	bytes int                          // of known, about
	mute  map[netip.AddrPort]time.Time // upstreams that were silent, and until when they are asked last
}

// knownKey is a question: a name in lower case with its final dot, and A or AAAA.
type knownKey struct {
	name string
	kind dnsmessage.Type
}

// known is what the answer to a question about addresses was. It never changes. The message
// stays packed: what takes it apart makes it twenty times as large.
type known struct {
	raw   []byte // nil = no upstream gave it
	code  dnsmessage.RCode
	addrs []netip.Addr
	at    time.Time
	ttl   time.Duration
	// asked is the name that the answer is about: another one than that of the
	// question, if the search list has completed that.
	asked string
}

// failed says that there was no answer that decides the matter.
func (k *known) failed() bool {
	return k == nil || k.code != dnsmessage.RCodeSuccess && k.code != dnsmessage.RCodeNameError
}

func newResolver(life context.Context, log zerolog.Logger, reach func(netip.Addr) bool) *resolver {
	file := &resolvConf{path: resolvConfPath}
	// A resolver that cannot reach any upstream knows the hosts file only.
	offline := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("the hosts file alone")
	}}
	r := &resolver{
		life:   life,
		config: file.read,
		hosts:  offline.LookupNetIP,
		system: net.DefaultResolver.LookupNetIP,
		put:    ask,
		reach:  reach,
	}
	r.silence.log = log
	all, each := lookups(gate.Files())
	r.asking.Cap(all, each)
	r.late.Cap(late(all), late(each))
	return r
}

// late is how many of so many lookups are waited for longer than queryTimeout.
func late(lookups int) int { return max(lookups/4, 1) }

// find returns what is known of a host's addresses of one family, nil if nobody
// could tell. A literal has no name for its owner and needs no question.
func (r *resolver) find(ctx context.Context, host string, kind dnsmessage.Type) *known {
	if a, ok := literal(strings.TrimSuffix(host, ".")); ok {
		return ofAddrs([]netip.Addr{a}, kind)
	}
	host = strings.ToLower(host)
	// The hosts file has names without the final dot.
	if addrs, err := r.hosts(ctx, "ip", strings.TrimSuffix(host, ".")); err == nil {
		return ofAddrs(addrs, kind)
	}
	cfg := r.config()
	if len(cfg.servers) == 0 {
		addrs, err := r.system(ctx, "ip", strings.TrimSuffix(host, "."))
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
	var plain, last *known
	absolute := strings.TrimSuffix(host, ".") + "."
	for _, name := range cfg.candidates(host) {
		k := r.ask(ctx, cfg.servers, knownKey{name, kind})
		if k != nil && k.code == dnsmessage.RCodeSuccess {
			return k
		}
		if last = k; name == absolute {
			plain = k
		}
		if ctx.Err() != nil {
			break
		}
	}
	if plain != nil {
		return plain
	}
	return last
}

// literal reads an address that stands where a name could, with or without
// brackets.
func literal(host string) (netip.Addr, bool) {
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		host = host[1 : len(host)-1]
	}
	a, err := netip.ParseAddr(host)
	return a.WithZone("").Unmap(), err == nil
}

// ofAddrs is an answer that no upstream gave.
func ofAddrs(addrs []netip.Addr, kind dnsmessage.Type) *known {
	k := &known{at: time.Now(), ttl: hostsTTL * time.Second}
	for _, a := range addrs {
		a = a.WithZone("").Unmap()
		if a.Is4() == (kind == dnsmessage.TypeA) {
			k.add(a)
		}
	}
	return k
}

// ask returns the answer to a question, as it is remembered or as an upstream gives
// it. Those who ask the same at once share one question, which goes on when they have given up:
// the answer serves who asks again.
func (r *resolver) ask(ctx context.Context, servers []netip.AddrPort, key knownKey) *known {
	if k := r.recall(key); k != nil {
		return k
	}
	who := r.asker(ctx)
	answer := r.flights.DoChan(key.name+" "+key.kind.String(), func() (any, error) {
		ctx, cancel := context.WithTimeout(asks(r.life, who), lateTime)
		defer cancel()
		k := r.inquire(ctx, servers, key)
		r.remember(key, k)
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
func (r *resolver) inquire(ctx context.Context, servers []netip.AddrPort, key knownKey) *known {
	name, err := dnsmessage.NewName(key.name)
	if err != nil {
		return nil
	}
	q := dnsmessage.Question{Name: name, Type: key.kind, Class: dnsmessage.ClassINET}
	query, err := (&dnsmessage.Message{
		Header: dnsmessage.Header{RecursionDesired: true}, Questions: []dnsmessage.Question{q},
	}).Pack()
	if err != nil {
		return nil
	}
	reply := r.exchange(ctx, servers, query, questionEnd(q))
	if reply == nil {
		return nil
	}
	k := &known{asked: key.name, at: time.Now()}
	if k.read(reply, key.kind) != nil {
		return nil
	}
	if len(reply) > maxKnownLen {
		k.ttl = 0
	}
	return k
}

// size is how much memory it is, about, with its key.
func (k *known) size() int { return 512 + cap(k.raw) + cap(k.addrs)*int(unsafe.Sizeof(netip.Addr{})) }

// read takes the addresses and the lifetime of an answer from its message. The
// upstream has followed aliases, so every address of the answer section counts.
func (k *known) read(reply []byte, kind dnsmessage.Type) error {
	var p dnsmessage.Parser
	head, err := p.Start(reply)
	if err != nil {
		return err
	}
	if err := p.SkipAllQuestions(); err != nil {
		return err
	}
	k.raw, k.code, k.ttl = reply, head.RCode, maxKnownTime
	for {
		h, err := p.AnswerHeader()
		if err == dnsmessage.ErrSectionDone {
			break
		}
		if err == nil {
			err = k.take(&p, &h, kind)
		}
		if err != nil {
			return err
		}
	}
	if len(k.addrs) > 0 {
		return nil
	}
	negative := time.Duration(0) // without a SOA nobody says for how long (RFC 2308, Section 5)
	for {
		h, err := p.AuthorityHeader()
		if err == dnsmessage.ErrSectionDone {
			break
		}
		if err == nil && h.Type == dnsmessage.TypeSOA {
			var soa dnsmessage.SOAResource
			if soa, err = p.SOAResource(); err == nil {
				negative = min(time.Duration(min(h.TTL, soa.MinTTL))*time.Second, maxNegativeTime)
			}
		} else if err == nil {
			err = p.SkipAuthority()
		}
		if err != nil {
			return err
		}
	}
	k.ttl = min(k.ttl, negative)
	return nil
}

// add notes an address, once, and not more than are looked at.
func (k *known) add(a netip.Addr) {
	if len(k.addrs) < maxAddrs && !slices.Contains(k.addrs, a) {
		k.addrs = append(k.addrs, a)
	}
}

// take reads one answer, whose header has been read.
func (k *known) take(p *dnsmessage.Parser, h *dnsmessage.ResourceHeader, kind dnsmessage.Type) error {
	k.ttl = min(k.ttl, time.Duration(h.TTL)*time.Second)
	switch {
	case h.Type == dnsmessage.TypeA && kind == dnsmessage.TypeA:
		a, err := p.AResource()
		k.add(netip.AddrFrom4(a.A))
		return err
	case h.Type == dnsmessage.TypeAAAA && kind == dnsmessage.TypeAAAA:
		a, err := p.AAAAResource()
		k.add(netip.AddrFrom16(a.AAAA).Unmap())
		return err
	}
	return p.SkipAnswer()
}

// recall returns what is remembered, or nil.
func (r *resolver) recall(key knownKey) *known {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.known[key]
	if k == nil || time.Since(k.at) >= k.ttl {
		return nil
	}
	return k
}

// remember keeps an answer for its TTL. When there is no room, some others go.
func (r *resolver) remember(key knownKey, k *known) {
	if k.failed() || k.ttl <= 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known == nil {
		r.known = make(map[knownKey]*known)
	}
	r.forget(key)
	if len(r.known) >= maxKnown || r.bytes+k.size() > maxKnownBytes {
		dropped, most := 0, max(len(r.known)/8, 1)
		for old, is := range r.known { // the map's order is random
			if time.Since(is.at) >= is.ttl || dropped < most {
				r.forget(old)
				dropped++
			}
		}
	}
	r.known[key] = k
	r.bytes += k.size()
}

// forget drops an answer. The caller holds mu.
func (r *resolver) forget(key knownKey) {
	if k := r.known[key]; k != nil {
		delete(r.known, key)
		r.bytes -= k.size()
	}
}
