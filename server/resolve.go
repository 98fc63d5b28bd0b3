package server

import (
	"bytes"
	"context"
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/mpsocks/mpsocks/mux/turns"
)

const (
	// maxQueries is how many names are resolved at once: each holds a socket
	// for some milliseconds, or for seconds when upstreams are silent.
	maxQueries = 512
	// maxQueriesPerClient leaves room for others; a browser's page asks for
	// some dozens at once. A client shares them between its users: it has to know the number.
	maxQueriesPerClient = 128
	// queryTimeout is how long a name that is asked for has a place among maxQueries: stub
	// resolvers ask again after five seconds.
	queryTimeout = 5 * time.Second
	// lateTime is how long an answer is waited for, which takes no place from others then: there
	// are name servers that need six seconds or more, and that answer later than never.
	lateTime = 12 * time.Second
	// hostsTTL is the life of an answer from the hosts file, which may be
	// edited at any time.
	hostsTTL = 10
	// dnsHeaderLen is that of RFC 1035, Section 4.1.1.
	dnsHeaderLen = 12
)

// query starts to resolve what a client asks; the answer leaves later. The
// goroutine that it starts ends with the answer, after lateTime at most or
// when the session ends.
func (u *uplink) query(p *peer, payload []byte) dropReason {
	r := p.server.resolver
	if len(payload) < dnsHeaderLen || payload[2]&0x80 != 0 { // a response is never answered
		return dropQuery
	}
	if !r.asking.Take(&p.client.names) {
		return u.overloaded(p, payload)
	}
	header, query := u.header, bytes.Clone(payload)
	give := r.hold(&p.client.names, func() {})
	p.server.work.Go(func() {
		defer give()
		ctx, cancel := context.WithTimeout(p.ctx, lateTime)
		defer cancel()
		reply := r.answer(asks(ctx, &p.client.late), query)
		if reply == nil || p.ctx.Err() != nil {
			return
		}
		defer p.session.Turn().Give() // a hundred may be answered together
		if packets := p.answer(nil, &header, reply); packets != nil {
			p.session.Send(&p.source, packets)
			p.session.Flush()
		}
	})
	return dropNone
}

// hold returns what gives the place of a lookup back that has begun, once; after queryTimeout
// that is done by itself, and late is called.
func (r *resolver) hold(own *turns.Holder, late func()) (give func()) {
	back := sync.OnceFunc(func() { r.asking.Give(own) })
	timer := time.AfterFunc(queryTimeout, func() { back(); late() })
	return func() { timer.Stop(); back() }
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
	case strings.EqualFold(k.asked, name):
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
func (r *resolver) forward(ctx context.Context, query []byte, q dnsmessage.Question) []byte {
	reply := r.exchange(ctx, r.config().servers, query, questionEnd(q))
	if reply == nil {
		return failure(query, dnsmessage.RCodeServerFailure)
	}
	return reply
}

// unreachable says that the exit has a route to none of the addresses, but to some
// of the same name in the other family: it is the exit that knows which family
// works, and clients prefer IPv4.
func (r *resolver) unreachable(ctx context.Context, name string, kind dnsmessage.Type, addrs []netip.Addr) bool {
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
	if end > len(query) || end > len(k.raw) || !equalFold(k.raw[dnsHeaderLen:end], query[dnsHeaderLen:end]) {
		return failure(query, k.code) // some servers repeat no question with an error
	}
	out := aged(k.raw, uint32(time.Since(k.at)/time.Second))
	if out == nil {
		return nil
	}
	copy(out, query[:2])
	out[2] = 0x80 | query[2]&0x01                        // a response, to who wants recursion or not: neither authoritative nor truncated
	out[3] = 0x80 | byte(k.code)                         // recursion is to be had
	copy(out[dnsHeaderLen:end], query[dnsHeaderLen:end]) // the letters as the client wrote them
	return out
}

// aged returns a copy of a message with so many seconds less to live, without what is
// additional; nil if it is none.
func aged(raw []byte, age uint32) []byte {
	if len(raw) < dnsHeaderLen {
		return nil
	}
	out := bytes.Clone(raw)
	count := func(at int) int { return int(binary.BigEndian.Uint16(out[at:])) }
	end := dnsHeaderLen
	for range count(4) {
		if end = nameEnd(out, end) + 4; end > len(out) {
			return nil
		}
	}
	for range count(6) + count(8) {
		end = nameEnd(out, end)
		if end+10 > len(out) { // type, class, TTL and length (RFC 1035, Section 4.1.3)
			return nil
		}
		ttl := binary.BigEndian.Uint32(out[end+4:])
		binary.BigEndian.PutUint32(out[end+4:], ttl-min(age, ttl))
		if end += 10 + count(end+8); end > len(out) {
			return nil
		}
	}
	clear(out[10:12])
	return out[:end]
}

// nameEnd returns where the name at an offset ends, beyond the message if it is none
// (RFC 1035, Section 4.1.4).
func nameEnd(b []byte, at int) int {
	for at < len(b) {
		switch n := int(b[at]); {
		case n == 0:
			return at + 1
		case n >= 0xC0:
			return at + 2
		case n >= 0x40:
			return len(b) + 1
		default:
			at += 1 + n
		}
	}
	return len(b) + 1
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
