package names

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/mpsocks/mpsocks/server/names/namestest"
)

// TestKnownNames: an answer serves for its TTL, which runs down, and no longer.
func TestKnownNames(t *testing.T) {
	name := dnsmessage.MustNewName("example.com.")
	q := dnsmessage.Question{Name: name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}
	header := dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET, TTL: 100}
	key := knownKey{"example.com.", dnsmessage.TypeA}
	synctest.Test(t, func(t *testing.T) {
		r := &answers{}
		read := func(k *known, m dnsmessage.Message) {
			m.Questions = []dnsmessage.Question{q}
			reply, err := m.Pack()
			if err == nil {
				err = k.read(reply, dnsmessage.TypeA)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		k := &known{asked: key.name, at: time.Now()}
		read(k, dnsmessage.Message{Answers: []dnsmessage.Resource{{Header: header, Body: &dnsmessage.AResource{A: [4]byte{192, 0, 2, 1}}}}})
		r.remember(key, k)
		query, err := (&dnsmessage.Message{Header: dnsmessage.Header{ID: 7}, Questions: []dnsmessage.Question{q}}).Pack()
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(40 * time.Second)
		got := r.recall(key)
		if got == nil {
			t.Fatal("forgotten")
		}
		if m := namestest.Unpack(t, got.response(query, q)); m.ID != 7 || m.Answers[0].Header.TTL != 60 {
			t.Errorf("%v", m.GoString())
		}
		time.Sleep(60 * time.Second)
		if r.recall(key) != nil {
			t.Error("used after its time")
		}
		// What does not exist is believed in as long as the SOA says, and not without.
		none := &known{at: time.Now()}
		read(none, dnsmessage.Message{Header: dnsmessage.Header{RCode: dnsmessage.RCodeNameError}})
		r.remember(key, none)
		if r.recall(key) != nil {
			t.Error("remembered without a SOA")
		}
		none = &known{at: time.Now()}
		read(none, dnsmessage.Message{
			Header:      dnsmessage.Header{RCode: dnsmessage.RCodeNameError},
			Authorities: []dnsmessage.Resource{{Header: header, Body: &dnsmessage.SOAResource{NS: name, MBox: name, MinTTL: 30}}},
		})
		r.remember(key, none)
		time.Sleep(29 * time.Second)
		if r.recall(key) == nil {
			t.Error("a name that does not exist is asked for again")
		}
		// There is a bound.
		for i := range 2 * maxKnown {
			r.remember(knownKey{string(rune(i)), dnsmessage.TypeA}, k)
		}
		if n := len(r.known); n > maxKnown {
			t.Errorf("%d names are remembered", n)
		}
	})
}

// TestKnownNamesAreSmall: answers with many addresses hold little memory, however many
// a client has asked for.
func TestKnownNamesAreSmall(t *testing.T) {
	name := dnsmessage.MustNewName("many.test.")
	q := dnsmessage.Question{Name: name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{Response: true})
	b.EnableCompression()
	if b.StartQuestions() != nil || b.Question(q) != nil || b.StartAnswers() != nil {
		t.Fatal("no builder")
	}
	for i := range 240 {
		rh := dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET, TTL: 3600}
		if err := b.AResource(rh, dnsmessage.AResource{A: [4]byte{203, 0, 113, byte(i)}}); err != nil {
			t.Fatal(err)
		}
	}
	reply, err := b.Finish()
	if err != nil || len(reply) > maxKnownLen {
		t.Fatal(len(reply), err)
	}
	r := &answers{}
	for i := range 2 * maxKnown {
		k := &known{asked: "many.test.", at: time.Now()}
		if err := k.read(bytes.Clone(reply), dnsmessage.TypeA); err != nil {
			t.Fatal(err)
		}
		r.remember(knownKey{string(rune(i)), dnsmessage.TypeA}, k)
	}
	held := 0
	for _, k := range r.known {
		held += k.size()
	}
	if held != r.bytes || held > maxKnownBytes || len(r.known) < maxKnownBytes/2/len(reply)/3 {
		t.Errorf("%d answers hold %d bytes, counted as %d", len(r.known), held, r.bytes)
	}
}

// FuzzAged: a message that can be read has the same records afterwards, with less to live, and
// nothing additional.
func FuzzAged(f *testing.F) {
	name := dnsmessage.MustNewName("www.example.com.")
	q := dnsmessage.Question{Name: name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}
	rh := dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET, TTL: 100}
	m := dnsmessage.Message{
		Header: dnsmessage.Header{Response: true}, Questions: []dnsmessage.Question{q},
		Answers:     []dnsmessage.Resource{{Header: rh, Body: &dnsmessage.CNAMEResource{CNAME: name}}, {Header: rh, Body: &dnsmessage.AResource{}}},
		Authorities: []dnsmessage.Resource{{Header: rh, Body: &dnsmessage.SOAResource{NS: name, MBox: name}}},
		Additionals: []dnsmessage.Resource{{Header: rh, Body: &dnsmessage.AResource{}}},
	}
	seed, err := m.Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed, uint32(40))
	m.Additionals = nil
	if seed, err = m.Pack(); err != nil {
		f.Fatal(err)
	}
	f.Add(seed, uint32(40))
	f.Add([]byte("\x00\x00\x80\x00\x00\x01\x00\x01\x00\x00\x00\x00\xC0\x0C\x00\x01\x00\x01\xC0\x0C"), uint32(1)) // a name that is itself
	f.Fuzz(func(t *testing.T, raw []byte, age uint32) {
		got := aged(raw, age)
		var was, is dnsmessage.Message
		if was.Unpack(raw) != nil || is.Unpack(got) != nil { // a name may point at what is cut off, or at a lifetime
			return
		}
		if len(is.Answers) != len(was.Answers) || len(is.Authorities) != len(was.Authorities) || len(is.Additionals) > 0 {
			t.Fatalf("%s is %s", was.GoString(), is.GoString())
		}
		for i, list := range [][]dnsmessage.Resource{was.Answers, was.Authorities} {
			for j, rr := range [][]dnsmessage.Resource{is.Answers, is.Authorities}[i] {
				if old := list[j].Header; rr.Header.TTL != old.TTL-min(age, old.TTL) || rr.Header.Type != old.Type || rr.Header.Length != old.Length {
					t.Errorf("%+v of %+v, %d seconds later", rr.Header, old, age)
				}
			}
		}
	})
}

// TestFamilyOfExit: where the exit has no route to a name's IPv4 addresses, the client
// gets the IPv6 ones only; where it has none at all, what there is.
func TestFamilyOfExit(t *testing.T) {
	at := namestest.Server(t, func(_ string, m dnsmessage.Message) *dnsmessage.Message {
		six := m.Questions[0].Type == dnsmessage.TypeAAAA
		switch {
		case !six:
			return namestest.AddA(m, 60, "192.0.2.1")
		case m.Questions[0].Name.String() == "both.test.":
			return namestest.AddAAAA(m, 60, "2001:db8::1")
		}
		return &m
	})
	r := only(t.Context(), at)
	r.reach = netip.Addr.Is6
	for _, tt := range []struct {
		name string
		kind dnsmessage.Type
		want int
	}{{"both.test.", dnsmessage.TypeA, 0}, {"both.test.", dnsmessage.TypeAAAA, 1}, {"four.test.", dnsmessage.TypeA, 1}} {
		m := namestest.Unpack(t, r.answer(t.Context(), namestest.Question(tt.name, tt.kind)))
		if m.RCode != 0 || len(m.Answers) != tt.want {
			t.Errorf("%s %v: %v", tt.name, tt.kind, m.GoString())
		}
	}
}

// TestHostsFileInAnySpelling asks for a name of the hosts file as CONNECT does and as
// DNS does, which ends every name with a dot.
func TestHostsFileInAnySpelling(t *testing.T) {
	r := with(t.Context(), Sources{Upstreams: upstreams(), Hosts: func(_ context.Context, _, host string) ([]netip.Addr, error) {
		if host != "box.test" {
			return nil, errors.New("not there")
		}
		return []netip.Addr{netip.MustParseAddr("192.0.2.7")}, nil
	}})
	for _, host := range []string{"box.test", "box.test.", "Box.TEST."} {
		k := r.find(t.Context(), host, dnsmessage.TypeA)
		if k == nil || len(k.addrs) != 1 || k.addrs[0] != netip.MustParseAddr("192.0.2.7") {
			t.Errorf("%s: %+v", host, k)
		}
	}
}
