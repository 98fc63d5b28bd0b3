package client

import (
	"net/netip"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/mpsocks/mpsocks/mux/packet"
)

// names of addresses, and what stands before them: an alias, or nothing.
var reverses = map[string]string{
	"4.2.0.192.in-addr.arpa.": "host.test.",
	"4.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.": "six.test.",
	"9.2.0.192.in-addr.arpa.": "", // there, and without a name
}

// answerReverse answers questions for names of addresses.
func answerReverse(h packet.UDP, payload []byte) [][]byte {
	var p dnsmessage.Parser
	head, err := p.Start(payload)
	must(err)
	q, err := p.Question()
	must(err)
	host, there := reverses[q.Name.String()]
	reply := dnsmessage.Header{ID: head.ID, Response: true}
	if !there {
		reply.RCode = dnsmessage.RCodeNameError
	}
	b := dnsmessage.NewBuilder(nil, reply)
	must(b.StartQuestions(), b.Question(q), b.StartAnswers())
	if host != "" {
		rh := dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 60}
		alias := dnsmessage.MustNewName("alias.test.")
		must(b.CNAMEResource(rh, dnsmessage.CNAMEResource{CNAME: alias}))
		rh.Name = alias
		must(b.PTRResource(rh, dnsmessage.PTRResource{PTR: dnsmessage.MustNewName(host)}))
	}
	msg, err := b.Finish()
	must(err)
	other := head // of somebody else's question
	other.ID, other.Response = head.ID+1, true
	wrong := dnsmessage.Message{Header: other, Questions: []dnsmessage.Question{q}}
	stray, err := wrong.Pack()
	must(err)
	return [][]byte{respond(h, stray), respond(h, msg)}
}

// TestReverse asks for the names of addresses as torsocks does.
func TestReverse(t *testing.T) {
	c := start(t, &fakeTunnel{answer: answerReverse}, nil)
	for _, tt := range []struct{ name, ask, want string }{
		{"IPv4", "\x01\xc0\x00\x02\x04\x00\x00", "\x00\x00\x03\x09host.test\x00\x00"},
		{"IPv6", "\x04\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x04\x00\x00", "\x00\x00\x03\x08six.test\x00\x00"},
		{"an address for a name", "\x03\x09192.0.2.4\x00\x00", "\x00\x00\x03\x09host.test\x00\x00"},
		{"without a name", "\x01\xc0\x00\x02\x09\x00\x00", "\x04\x00\x01\x00\x00\x00\x00\x00\x00"},
		{"unknown", "\x01\xc0\x00\x02\x05\x00\x00", "\x04\x00\x01\x00\x00\x00\x00\x00\x00"},
		{"a name", "\x03\x09host.test\x00\x00", "\x04\x00\x01\x00\x00\x00\x00\x00\x00"},
	} {
		want := "\x05\x00\x05" + tt.want
		if got := talk(t, dial(t, c), []byte("\x05\x01\x00\x05\xf1\x00"+tt.ask), len(want)); string(got) != want {
			t.Errorf("%s: %q, want %q", tt.name, got, want)
		}
	}
	eventually(t, "nothing is left", func() bool { return c.Status().Associations == 0 })
	if got := reverseName(netip.MustParseAddr("192.0.2.4")); got != "4.2.0.192.in-addr.arpa" {
		t.Errorf("%s", got)
	}
}
