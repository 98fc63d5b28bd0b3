package server

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	// maxQueries is how many names are resolved at once: each holds a socket
	// for some milliseconds, or for seconds when upstreams are silent.
	maxQueries = 256
	// maxQueriesPerClient leaves room for others; a browser's page asks for
	// some dozens at once.
	maxQueriesPerClient = 64
	// queryTimeout is the time for all attempts: stub resolvers ask again
	// after five seconds.
	queryTimeout = 5 * time.Second
	// hostsTTL is the life of an answer from the hosts file, which may be
	// edited at any time.
	hostsTTL = 10
	// dnsHeaderLen is that of RFC 1035, Section 4.1.1.
	dnsHeaderLen = 12
)

// A lookup is the form of net.Resolver.LookupNetIP.
type lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)

// A resolver answers DNS queries where the server is. Queries go to the system's
// upstreams as they are, so that answers keep their TTLs and every type works;
// names of the hosts file, and single labels that only the system's search list
// completes, are answered by the system's resolver. It caches nothing: clients do.
type resolver struct {
	upstreams func() []netip.AddrPort
	hosts     lookup // the hosts file alone
	system    lookup
	queries   quota
}

func newResolver() *resolver {
	file := &resolvConf{path: resolvConfPath}
	// A resolver that cannot reach any upstream knows the hosts file only.
	offline := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("the hosts file alone")
	}}
	r := &resolver{
		upstreams: file.servers,
		hosts:     offline.LookupNetIP,
		system:    net.DefaultResolver.LookupNetIP,
	}
	r.queries.max.Store(maxQueries)
	return r
}

// query starts to resolve what a client asks; the answer leaves later. The
// goroutine that it starts ends with the answer, after queryTimeout at most or
// when the session ends.
func (u *uplink) query(p *peer, payload []byte) dropReason {
	r := p.server.resolver
	if len(payload) < dnsHeaderLen || payload[2]&0x80 != 0 { // a response is never answered
		return dropQuery
	}
	if !p.client.queries.take() {
		return u.overloaded(p, payload)
	}
	if !r.queries.take() {
		p.client.queries.give()
		return u.overloaded(p, payload)
	}
	header, query := u.header, bytes.Clone(payload)
	p.server.work.Go(func() {
		defer r.queries.give()
		defer p.client.queries.give()
		ctx, cancel := context.WithTimeout(p.ctx, queryTimeout)
		defer cancel()
		reply := r.answer(ctx, query)
		if reply == nil || p.ctx.Err() != nil {
			return
		}
		if packets := p.answer(nil, &header, reply); packets != nil {
			p.session.Send(&p.source, packets)
			p.session.Flush()
		}
	})
	return dropNone
}

// overloaded tells the client at once, so that it need not wait.
func (u *uplink) overloaded(p *peer, payload []byte) dropReason {
	if packets := p.answer(u.answers, &u.header, failure(payload, dnsmessage.RCodeServerFailure)); packets != nil {
		u.answers = packets
	}
	return dropQueries
}

// answer returns the response to a query, or nil if it deserves none. The
// query has a DNS header at least.
func (r *resolver) answer(ctx context.Context, query []byte) []byte {
	var parser dnsmessage.Parser
	head, err := parser.Start(query)
	if err != nil || head.Response {
		return nil
	}
	if head.OpCode != 0 { // QUERY, RFC 1035, Section 4.1.1
		return failure(query, dnsmessage.RCodeNotImplemented)
	}
	questions, err := parser.AllQuestions()
	if err != nil || len(questions) != 1 {
		return failure(query, dnsmessage.RCodeFormatError)
	}
	q := questions[0]
	name := q.Name.String()
	address := q.Class == dnsmessage.ClassINET && (q.Type == dnsmessage.TypeA || q.Type == dnsmessage.TypeAAAA)
	if address {
		if addrs, err := r.hosts(ctx, "ip", name); err == nil {
			return addresses(head, q, addrs)
		}
	}
	upstreams := r.upstreams()
	reply := exchange(ctx, upstreams, query, questionEnd(q))
	single := strings.Count(name, ".") == 1 && name != "."
	if address && (len(upstreams) == 0 || single && (reply == nil || rcode(reply) == dnsmessage.RCodeNameError)) {
		if addrs, err := r.system(ctx, "ip", strings.TrimSuffix(name, ".")); err == nil {
			return addresses(head, q, addrs)
		}
	}
	if reply == nil {
		return failure(query, dnsmessage.RCodeServerFailure)
	}
	return reply
}

// addresses builds the response with those of the addresses that the question
// asks for; none of them is an empty answer, for the name does exist.
func addresses(head dnsmessage.Header, q dnsmessage.Question, addrs []netip.Addr) []byte {
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{
		ID: head.ID, Response: true, RecursionDesired: head.RecursionDesired, RecursionAvailable: true,
	})
	b.EnableCompression()
	rh := dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: hostsTTL}
	if b.StartQuestions() != nil || b.Question(q) != nil || b.StartAnswers() != nil {
		return nil
	}
	var seen []netip.Addr
	for _, a := range addrs {
		a = a.Unmap()
		if slices.Contains(seen, a) || a.Is4() != (q.Type == dnsmessage.TypeA) {
			continue
		}
		seen = append(seen, a)
		var err error
		if a.Is4() {
			err = b.AResource(rh, dnsmessage.AResource{A: a.As4()})
		} else {
			err = b.AAAAResource(rh, dnsmessage.AAAAResource{AAAA: a.As16()})
		}
		if err != nil {
			return nil
		}
	}
	out, err := b.Finish()
	if err != nil {
		return nil
	}
	return out
}

// failure is the response without records that says what went wrong. It
// repeats the question where it can be read.
func failure(query []byte, code dnsmessage.RCode) []byte {
	var parser dnsmessage.Parser
	head, err := parser.Start(query)
	if err != nil {
		return nil
	}
	msg := dnsmessage.Message{Header: dnsmessage.Header{
		ID: head.ID, OpCode: head.OpCode, Response: true,
		RecursionDesired: head.RecursionDesired, RecursionAvailable: true, RCode: code,
	}}
	if q, err := parser.Question(); err == nil {
		msg.Questions = []dnsmessage.Question{q}
	}
	out, err := msg.Pack()
	if err != nil {
		return nil
	}
	return out
}

// questionEnd returns the length of header and question as RFC 1035 writes
// them, without compression.
func questionEnd(q dnsmessage.Question) int {
	n := int(q.Name.Length) + 1 // a length before each label replaces a dot behind it, and the root
	if n == 2 && q.Name.Data[0] == '.' {
		n = 1
	}
	return dnsHeaderLen + n + 4
}

func rcode(msg []byte) dnsmessage.RCode { return dnsmessage.RCode(msg[3] & 0xF) }
