package names

import (
	"context"
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// IsQuery says whether a datagram may be a query: a response is never answered.
func IsQuery(b []byte) bool { return len(b) >= headerLen && b[2]&0x80 == 0 }

// Overloaded is the response to a query for which there is no place, so that who asks need not wait.
func Overloaded(query []byte) []byte { return failure(query, dnsmessage.RCodeServerFailure) }

// Answer returns the response to a query of a client that has a place, after lateTime at most, or
// nil if it deserves none.
func (r *Resolver) Answer(ctx context.Context, c *Client, query []byte) []byte {
	ctx, cancel := context.WithTimeout(asks(ctx, c), lateTime)
	defer cancel()
	return r.answer(ctx, query)
}

// answer is Answer. The query has a DNS header at least.
func (r *Resolver) answer(ctx context.Context, query []byte) []byte {
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
	if q.Class != dnsmessage.ClassINET || q.Type != dnsmessage.TypeA && q.Type != dnsmessage.TypeAAAA {
		return r.forward(ctx, query, q)
	}
	name := q.Name.String()
	k := r.find(ctx, name, q.Type)
	if k.failed() && k != nil {
		return failure(query, k.code)
	}
	if k == nil {
		return failure(query, dnsmessage.RCodeServerFailure)
	}
	if len(k.addrs) > 0 && r.unreachable(ctx, name, q.Type, k.addrs) {
		return addresses(head, q, nil, hostsTTL)
	}
	switch {
	case k.asked == lower(name):
		if binary.BigEndian.Uint16(query[10:]) > 0 { // EDNS: who asks for more than addresses gets the answer as it is
			return r.forward(ctx, query, q)
		}
		return k.response(query, q)
	case k.code != dnsmessage.RCodeSuccess:
		return failure(query, k.code)
	}
	return addresses(head, q, k.addrs, k.left())
}

// forward has the upstreams answer a query as it is, so that every type works.
func (r *Resolver) forward(ctx context.Context, query []byte, q dnsmessage.Question) []byte {
	reply := r.questions.exchange(ctx, r.from.Upstreams().Servers, query, questionEnd(q))
	if reply == nil {
		return failure(query, dnsmessage.RCodeServerFailure)
	}
	return reply
}

// unreachable says that the exit has a route to none of the addresses, but to some
// of the same name in the other family: it is the exit that knows which family
// works, and clients prefer IPv4.
func (r *Resolver) unreachable(ctx context.Context, name string, kind dnsmessage.Type, addrs []netip.Addr) bool {
	if r.reach == nil || slices.ContainsFunc(addrs, r.reach) {
		return false
	}
	other := dnsmessage.TypeA + dnsmessage.TypeAAAA - kind
	k := r.find(ctx, name, other)
	return k != nil && slices.ContainsFunc(k.addrs, r.reach)
}

// left is how many seconds an answer holds from now on.
func (k *known) left() uint32 {
	return uint32(max(k.ttl/time.Second-time.Since(k.at)/time.Second, 0))
}

// response is the answer to a query whose question was asked before, with its lifetime as it is
// now.
func (k *known) response(query []byte, q dnsmessage.Question) []byte {
	end := questionEnd(q)
	if end > len(query) || end > len(k.raw) || !equalFold(k.raw[headerLen:end], query[headerLen:end]) {
		return failure(query, k.code) // some servers repeat no question with an error
	}
	out := aged(k.raw, uint32(time.Since(k.at)/time.Second))
	if out == nil {
		return nil
	}
	copy(out, query[:2])
	out[2] = 0x80 | k.raw[2]&0x02 | query[2]&0x01  // a response, to who wants recursion or not: not authoritative, and as truncated as it came
	out[3] = 0x80 | byte(k.code)                   // recursion is to be had
	copy(out[headerLen:end], query[headerLen:end]) // the letters as the client wrote them
	return out
}

// addresses builds the response with those of the addresses that the question
// asks for; none of them is an empty answer, for the name does exist.
func addresses(head dnsmessage.Header, q dnsmessage.Question, addrs []netip.Addr, ttl uint32) []byte {
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{
		ID: head.ID, Response: true, RecursionDesired: head.RecursionDesired, RecursionAvailable: true,
	})
	b.EnableCompression()
	rh := dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: ttl}
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
