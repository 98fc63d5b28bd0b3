package client

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"time"

	"github.com/txthinking/socks5"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/mpsocks/mpsocks/client/admission"
	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/records"
)

// cmdResolvePTR asks for the name of an address, in a reply's bound address: the other half of
// Tor's extension (socks-extensions.txt, Section 2).
const cmdResolvePTR = 0xf1

// reverseAgain is when the question is asked again, as those for addresses are.
var reverseAgain = []time.Duration{time.Second, 2 * time.Second, questionTime}

// A reverse asks for one name, from an inner port of its own.
type reverse struct {
	inner
	id     uint16 // of the question
	asked  string
	answer chan string // has room for one; "" = there is none
}

// tellName serves a request for the name of an address.
func tellName(a *caller, user string, req *socks5.Request) error {
	addr, ok := literalName(req)
	if !ok && req.Atyp != socks5.ATYPDomain {
		addr, ok = netip.AddrFromSlice(req.DstAddr)
	}
	host, err := "", errNoHost
	if ok {
		ctx, cancel := context.WithTimeout(a.client.life, handshakeTime)
		defer cancel()
		host, err = nameOf(ctx, a.client, admission.HolderOf(user, addrOf(a.conn.RemoteAddr()).Addr()), addr.Unmap())
	}
	if err != nil {
		a.client.failed.Add(1)
		return replyError{repHost, err}
	}
	if _, err := socks5.NewReply(repSuccess, socks5.ATYPDomain, []byte(host), []byte{0, 0}).WriteTo(a.conn); err != nil {
		return fmt.Errorf("tell a name: %w", err)
	}
	linger(a.conn)
	return nil
}

// nameOf asks the server's resolver for the name of an address. It counts as an association
// of the holder's meanwhile.
func nameOf(ctx context.Context, c *Client, by admission.Holder, addr netip.Addr) (string, error) {
	if !c.associations.Acquire(by) {
		return "", errTooManyAssociations
	}
	defer c.associations.Release(by)
	r := &reverse{id: uint16(rand.Uint32()), asked: reverseName(addr), answer: make(chan string, 1)}
	r.client, r.holder, r.source.User = c, by, by.User
	if err := c.ports.take(&r.innerPort, r); err != nil {
		return "", err
	}
	defer r.end()
	for _, wait := range reverseAgain {
		if err := r.ask(); err != nil {
			return "", err
		}
		select {
		case host := <-r.answer:
			if host == "" {
				return "", errNoHost
			}
			return host, nil
		case <-time.After(wait):
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	return "", errNoAnswers
}

// ask sends the question.
func (r *reverse) ask() error {
	b := buf.Get(512)
	msg, err := records.AppendQuery(b.Bytes()[:0], r.id, r.asked+".", dnsmessage.TypePTR)
	if err != nil {
		b.Release()
		return err
	}
	b.Resize(len(msg))
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.wrap(b, resolver, 0) {
		b.Release()
		return errNoAnswers
	}
	r.client.tunnel.Send(&r.source, appendPackets(nil, b))
	r.client.tunnel.Flush()
	return nil
}

// receive takes an answer from the tunnel.
func (r *reverse) receive(d *delivery, _, payload []byte) {
	host, ok := parseName(payload, r.id, r.asked)
	if d.udp.Src != resolver || !ok {
		r.client.drops.add(dropPacket)
		return
	}
	select {
	case r.answer <- host:
	default: // one is enough
	}
}

// reverseName is where DNS has the name of an address, without the final dot (RFC 1035,
// Section 3.5; RFC 3596, Section 2.5).
func reverseName(a netip.Addr) string {
	if a.Is4() {
		b := a.As4()
		return fmt.Sprintf("%d.%d.%d.%d.in-addr.arpa", b[3], b[2], b[1], b[0])
	}
	var name strings.Builder
	b := a.As16()
	for i := len(b) - 1; i >= 0; i-- {
		fmt.Fprintf(&name, "%x.%x.", b[i]&15, b[i]>>4)
	}
	return name.String() + "ip6.arpa"
}

// parseName reads the answer to a question for the name of an address, without its final dot;
// "" if there is none, false if it is no answer to that question.
func parseName(b []byte, id uint16, name string) (host string, ok bool) {
	var p dnsmessage.Parser
	h, err := p.Start(b)
	if err != nil || h.ID != id || !h.Response {
		return "", false
	}
	q, err := p.Question()
	if err != nil || q.Type != dnsmessage.TypePTR || !strings.EqualFold(strings.TrimSuffix(q.Name.String(), "."), name) || p.SkipAllQuestions() != nil {
		return "", false
	}
	for {
		rh, err := p.AnswerHeader()
		switch {
		case err != nil:
			return "", true
		case rh.Type != dnsmessage.TypePTR:
			err = p.SkipAnswer() // an alias on the way (RFC 2317)
		default:
			rr, err := p.PTRResource()
			return strings.TrimSuffix(rr.PTR.String(), "."), err == nil
		}
		if err != nil {
			return "", true
		}
	}
}
