package client

import (
	"errors"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/mpsocks/mpsocks/mux/records"
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

// parseAnswer reads the answer to the question for host and typ; its TTL is that of the SOA
// for "there is none".
func parseAnswer(p *dnsmessage.Parser, h dnsmessage.Header, host string, typ dnsmessage.Type) (reply, error) {
	var r reply
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
	addrs, ttl, err := records.Addrs(p, typ, 1+maxOthers)
	if err != nil {
		return r, err
	}
	if len(addrs) > 0 {
		r.addr, r.others, r.ttl = addrs[0], addrs[1:], ttl
	} else if r.ttl, err = records.Negative(p); err != nil {
		r.ttl = minTTL
	}
	return r, nil
}
