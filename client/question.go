package client

import (
	"errors"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// maxHost is the longest name in text form, RFC 1035, Section 2.3.4.
const maxHost = 253

var errAnswer = errors.New("not an answer to this question")

// appendHost appends the canonical form of a host to dst: lower case, without
// the final dot. It returns false for what can be no host name. Underscores and
// bytes over 127 are let through: the resolver decides.
func appendHost(dst, host []byte) ([]byte, bool) {
	if n := len(host); n > 1 && host[n-1] == '.' {
		host = host[:n-1]
	}
	if len(host) == 0 || len(host) > maxHost {
		return dst, false
	}
	label := 0
	for _, c := range host {
		switch {
		case c == '.':
			if label == 0 || label > 63 {
				return dst, false
			}
			label = -1
		case c <= ' ' || c == 0x7f:
			return dst, false
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		}
		label++
		dst = append(dst, c)
	}
	return dst, label > 0 && label <= 63
}

// sameHost says whether a host, as an application spells it, has the given
// canonical form.
func sameHost(host []byte, canonical string) bool {
	if string(host) == canonical { // does not allocate
		return true
	}
	if n := len(host); n > 1 && host[n-1] == '.' {
		host = host[:n-1]
	}
	if len(host) != len(canonical) {
		return false
	}
	for i, c := range host {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != canonical[i] {
			return false
		}
	}
	return true
}

// parseLiteral reads an IP address written where a name could stand, with or
// without brackets. Zones mean nothing at the server and are refused.
func parseLiteral(host string) (netip.Addr, bool) {
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		host = host[1 : len(host)-1]
	}
	a, err := netip.ParseAddr(host)
	return a.Unmap(), err == nil && a.Zone() == ""
}

// appendQuestion appends a DNS query of that type for host to b.
func appendQuestion(b []byte, id uint16, host string, typ dnsmessage.Type) ([]byte, error) {
	name, err := dnsmessage.NewName(host + ".")
	if err != nil {
		return nil, err
	}
	q := dnsmessage.NewBuilder(b, dnsmessage.Header{ID: id, RecursionDesired: true})
	if err := q.StartQuestions(); err != nil {
		return nil, err
	}
	if err := q.Question(dnsmessage.Question{Name: name, Type: typ, Class: dnsmessage.ClassINET}); err != nil {
		return nil, err
	}
	return q.Finish()
}

// reply is what one DNS answer says.
type reply struct {
	addr   netip.Addr   // invalid: there is none
	others []netip.Addr // further ones, maxOthers at most
	ttl    time.Duration
	// failed says that the resolver could not tell (SERVFAIL and the like), so
	// that the answer is no answer.
	failed bool
}

// maxOthers is how many addresses beside the first one are kept.
const maxOthers = 7

func (r *reply) add(a netip.Addr) {
	if r.addr.IsValid() {
		r.others = append(r.others, a)
	} else {
		r.addr = a
	}
}

// parseAnswer reads the answer to the question for host and typ. The resolver
// follows aliases, so every address in the answer section counts; the TTL is
// the smallest on the way, or of the SOA for "there is none" (RFC 2308).
func parseAnswer(p *dnsmessage.Parser, h dnsmessage.Header, host string, typ dnsmessage.Type) (reply, error) {
	r := reply{ttl: maxTTL}
	q, err := p.Question()
	if err != nil {
		return r, err
	}
	if !h.Response || q.Type != typ || !strings.EqualFold(strings.TrimSuffix(q.Name.String(), "."), host) {
		return r, errAnswer
	}
	if err := p.SkipAllQuestions(); err != nil {
		return r, err
	}
	if h.RCode != dnsmessage.RCodeSuccess && h.RCode != dnsmessage.RCodeNameError {
		r.failed = true
		return r, nil
	}
	for {
		rh, err := p.AnswerHeader()
		if err == dnsmessage.ErrSectionDone {
			break
		}
		if err != nil {
			return r, err
		}
		r.ttl = min(r.ttl, time.Duration(rh.TTL)*time.Second)
		switch {
		case len(r.others) == maxOthers || rh.Type != typ:
			err = p.SkipAnswer()
		case typ == dnsmessage.TypeA:
			var rr dnsmessage.AResource
			rr, err = p.AResource()
			r.add(netip.AddrFrom4(rr.A))
		default:
			var rr dnsmessage.AAAAResource
			rr, err = p.AAAAResource()
			r.add(netip.AddrFrom16(rr.AAAA).Unmap())
		}
		if err != nil {
			return r, err
		}
	}
	if !r.addr.IsValid() {
		r.ttl = negativeTTL(p)
	}
	return r, nil
}

// negativeTTL is how long "there is none" holds, RFC 2308, Section 5: the
// smaller one of the SOA's TTL and its minimum field.
func negativeTTL(p *dnsmessage.Parser) time.Duration {
	for {
		rh, err := p.AuthorityHeader()
		if err != nil {
			return minTTL
		}
		if rh.Type != dnsmessage.TypeSOA {
			if p.SkipAuthority() != nil {
				return minTTL
			}
			continue
		}
		soa, err := p.SOAResource()
		if err != nil {
			return minTTL
		}
		return min(time.Duration(min(rh.TTL, soa.MinTTL))*time.Second, maxNegativeTTL)
	}
}
