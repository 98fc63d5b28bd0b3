package names

import (
	"net/netip"
	"slices"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/mpsocks/mpsocks/mux/records"
)

const (
	// maxKnown is how many answers are remembered, of at most maxKnownLen bytes each and
	// maxKnownBytes of memory in all.
	maxKnown      = 4096
	maxKnownLen   = 4096
	maxKnownBytes = 8 << 20
	// maxAddrs is how many addresses of a family are looked at: whoever has a name can give it
	// thousands, and each CONNECT puts them in order.
	maxAddrs = 64
	// hostsTTL is the life of an answer from the hosts file, which may be
	// edited at any time, seconds.
	hostsTTL = 10
)

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

// ofAddrs is an answer that no upstream gave.
func ofAddrs(addrs []netip.Addr, kind dnsmessage.Type) *known {
	k := &known{at: time.Now(), ttl: hostsTTL * time.Second}
	for _, a := range addrs {
		a = a.WithZone("").Unmap()
		if a.Is4() == (kind == dnsmessage.TypeA) && len(k.addrs) < maxAddrs && !slices.Contains(k.addrs, a) {
			k.addrs = append(k.addrs, a)
		}
	}
	return k
}

// size is how much memory it is, about, with its key.
func (k *known) size() int { return 512 + cap(k.raw) + cap(k.addrs)*int(unsafe.Sizeof(netip.Addr{})) }

// read takes the addresses and the lifetime of an answer from its message.
func (k *known) read(reply []byte, kind dnsmessage.Type) error {
	var p dnsmessage.Parser
	head, err := p.Start(reply)
	if err != nil {
		return err
	}
	if err := p.SkipAllQuestions(); err != nil {
		return err
	}
	k.raw, k.code = reply, head.RCode
	if k.addrs, k.ttl, err = records.Addrs(&p, kind, maxAddrs); err != nil || len(k.addrs) > 0 {
		return err
	}
	negative, err := records.Negative(&p)
	if err == dnsmessage.ErrSectionDone { // without a SOA nobody says for how long (RFC 2308, Section 5)
		negative, err = 0, nil
	}
	k.ttl = min(k.ttl, negative)
	return err
}

// answers are what is remembered. They are safe for concurrent use.
type answers struct {
	mu    sync.Mutex // guards the rest
	known map[knownKey]*known
	bytes int // of known, about
}

// recall returns what is remembered, or nil.
func (a *answers) recall(key knownKey) *known {
	a.mu.Lock()
	defer a.mu.Unlock()
	k := a.known[key]
	if k == nil || time.Since(k.at) >= k.ttl {
		return nil
	}
	return k
}

// remember keeps an answer for its TTL. When there is no room, some others go.
func (a *answers) remember(key knownKey, k *known) {
	if k.failed() || k.ttl <= 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.known == nil {
		a.known = make(map[knownKey]*known)
	}
	a.forget(key)
	if len(a.known) >= maxKnown || a.bytes+k.size() > maxKnownBytes {
		dropped, most := 0, max(len(a.known)/8, 1)
		for old, is := range a.known { // the map's order is random
			if time.Since(is.at) >= is.ttl || dropped < most {
				a.forget(old)
				dropped++
			}
		}
	}
	a.known[key] = k
	a.bytes += k.size()
}

// forget drops an answer. The caller holds mu.
func (a *answers) forget(key knownKey) {
	if k := a.known[key]; k != nil {
		delete(a.known, key)
		a.bytes -= k.size()
	}
}
