// Package records has what whoever asks a name server for addresses needs, as the server does of
// its upstreams and the client of the server: the question, and what the answer says and for how long.
package records

import (
	"math"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	// MaxTTL is for how long an answer is believed at most: a server that moves is found
	// within the hour.
	MaxTTL = time.Hour
	// MaxNegative is the same for what does not exist (RFC 2308 allows hours): a name that
	// was just registered should work soon.
	MaxNegative = time.Minute
)

// AppendQuery appends the query for the records of a kind that a name has to b. The name ends
// with a dot.
func AppendQuery(b []byte, id uint16, name string, kind dnsmessage.Type) ([]byte, error) {
	n, err := dnsmessage.NewName(name)
	if err != nil {
		return nil, err
	}
	q := dnsmessage.NewBuilder(b, dnsmessage.Header{ID: id, RecursionDesired: true})
	if err := q.StartQuestions(); err != nil {
		return nil, err
	}
	if err := q.Question(dnsmessage.Question{Name: n, Type: kind, Class: dnsmessage.ClassINET}); err != nil {
		return nil, err
	}
	return q.Finish()
}

// Addrs takes the addresses of a kind, A or AAAA, from an answer section: each once, and the first
// most of them. Who has answered has followed aliases, so the owner does not matter. ttl is how long
// all of the section holds. The parser stands before the section, and behind it afterwards.
func Addrs(p *dnsmessage.Parser, kind dnsmessage.Type, most int) (addrs []netip.Addr, ttl time.Duration, err error) {
	for ttl = MaxTTL; ; {
		h, err := p.AnswerHeader()
		if err == dnsmessage.ErrSectionDone {
			return addrs, ttl, nil
		}
		if err != nil {
			return nil, 0, err
		}
		ttl = min(ttl, lifetime(h.TTL))
		a, err := addr(p, h.Type, kind)
		if err != nil {
			return nil, 0, err
		}
		if a.IsValid() && len(addrs) < most && !slices.Contains(addrs, a) {
			addrs = append(addrs, a)
		}
	}
}

// addr takes one record, and its address if it is of the kind that is looked for.
func addr(p *dnsmessage.Parser, is, kind dnsmessage.Type) (netip.Addr, error) {
	switch {
	case is != kind:
		return netip.Addr{}, p.SkipAnswer()
	case kind == dnsmessage.TypeA:
		a, err := p.AResource()
		return netip.AddrFrom4(a.A), err
	}
	a, err := p.AAAAResource()
	return netip.AddrFrom16(a.AAAA).Unmap(), err
}

// Negative is how long "there is none" holds: RFC 2308, Section 5. The parser stands before the
// authority section. The error is dnsmessage.ErrSectionDone if nothing there says so.
func Negative(p *dnsmessage.Parser) (time.Duration, error) {
	for {
		h, err := p.AuthorityHeader()
		if err != nil {
			return 0, err
		}
		if h.Type == dnsmessage.TypeSOA {
			soa, err := p.SOAResource()
			return min(lifetime(h.TTL), lifetime(soa.MinTTL), MaxNegative), err
		}
		if err := p.SkipAuthority(); err != nil {
			return 0, err
		}
	}
}

// lifetime is what a TTL field means: one beyond 31 bits is none (RFC 2181, Section 8).
func lifetime(seconds uint32) time.Duration {
	if seconds > math.MaxInt32 {
		return 0
	}
	return time.Duration(seconds) * time.Second
}
