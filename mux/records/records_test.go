package records

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// parser stands behind the question of a message with these sections.
func parser(t *testing.T, answers, authorities []dnsmessage.Resource) *dnsmessage.Parser {
	t.Helper()
	b, err := (&dnsmessage.Message{Answers: answers, Authorities: authorities}).Pack()
	if err != nil {
		t.Fatal(err)
	}
	p := new(dnsmessage.Parser)
	if _, err = p.Start(b); err == nil {
		err = p.SkipAllQuestions()
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func record(ttl uint32, body dnsmessage.ResourceBody) dnsmessage.Resource {
	return dnsmessage.Resource{
		Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName("a.test."), Class: dnsmessage.ClassINET, TTL: ttl},
		Body:   body,
	}
}

func TestAddrs(t *testing.T) {
	a := func(ttl uint32, last byte) dnsmessage.Resource {
		return record(ttl, &dnsmessage.AResource{A: [4]byte{192, 0, 2, last}})
	}
	alias := record(30, &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName("b.test.")})
	mapped := record(60, &dnsmessage.AAAAResource{AAAA: netip.MustParseAddr("::ffff:192.0.2.9").As16()})
	for _, c := range []struct {
		name    string
		kind    dnsmessage.Type
		answers []dnsmessage.Resource
		want    []string
		ttl     time.Duration
	}{
		{"nothing", dnsmessage.TypeA, nil, nil, MaxTTL},
		{"behind an alias that holds for less", dnsmessage.TypeA, []dnsmessage.Resource{alias, a(60, 1)}, []string{"192.0.2.1"}, 30 * time.Second},
		{"of the other family", dnsmessage.TypeAAAA, []dnsmessage.Resource{a(60, 1)}, nil, time.Minute},
		{"each once, and no more than are wanted", dnsmessage.TypeA, []dnsmessage.Resource{a(60, 1), a(60, 1), a(60, 2), a(60, 3), a(60, 4)}, []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"}, time.Minute},
		{"an IPv4 one in IPv6's form", dnsmessage.TypeAAAA, []dnsmessage.Resource{mapped}, []string{"192.0.2.9"}, time.Minute},
		{"for a day", dnsmessage.TypeA, []dnsmessage.Resource{a(86400, 1)}, []string{"192.0.2.1"}, MaxTTL},
		{"for 68 years", dnsmessage.TypeA, []dnsmessage.Resource{a(1<<31-1, 1)}, []string{"192.0.2.1"}, MaxTTL},
		{"for longer than the field may say", dnsmessage.TypeA, []dnsmessage.Resource{a(1<<31, 1)}, []string{"192.0.2.1"}, 0},
		{"for no time", dnsmessage.TypeA, []dnsmessage.Resource{a(60, 1), a(0, 2)}, []string{"192.0.2.1", "192.0.2.2"}, 0},
	} {
		addrs, ttl, err := Addrs(parser(t, c.answers, nil), c.kind, 3)
		var got []string
		for _, a := range addrs {
			got = append(got, a.String())
		}
		if err != nil || !slices.Equal(got, c.want) || ttl != c.ttl {
			t.Errorf("%s: %v for %v, %v", c.name, got, ttl, err)
		}
	}
}

func TestNegative(t *testing.T) {
	name := dnsmessage.MustNewName("test.")
	soa := func(ttl, least uint32) dnsmessage.Resource {
		return record(ttl, &dnsmessage.SOAResource{NS: name, MBox: name, MinTTL: least})
	}
	ns := record(60, &dnsmessage.NSResource{NS: name})
	for _, c := range []struct {
		name        string
		authorities []dnsmessage.Resource
		want        time.Duration
		err         error
	}{
		{"nobody says", nil, 0, dnsmessage.ErrSectionDone},
		{"only who is asked", []dnsmessage.Resource{ns}, 0, dnsmessage.ErrSectionDone},
		{"the record's own time", []dnsmessage.Resource{ns, soa(20, 30)}, 20 * time.Second, nil},
		{"its last field", []dnsmessage.Resource{soa(30, 20)}, 20 * time.Second, nil},
		{"hours", []dnsmessage.Resource{soa(86400, 86400)}, MaxNegative, nil},
		{"longer than the field may say", []dnsmessage.Resource{soa(60, 1<<31)}, 0, nil},
	} {
		p := parser(t, nil, c.authorities)
		if _, _, err := Addrs(p, dnsmessage.TypeA, 1); err != nil {
			t.Fatal(err)
		}
		if got, err := Negative(p); got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %v, %v", c.name, got, err)
		}
	}
}

func TestAppendQuery(t *testing.T) {
	b, err := AppendQuery([]byte("x"), 7, "www.a.test.", dnsmessage.TypeAAAA)
	if err != nil {
		t.Fatal(err)
	}
	var m dnsmessage.Message
	if err := m.Unpack(b[1:]); err != nil {
		t.Fatal(err)
	}
	want := dnsmessage.Question{Name: dnsmessage.MustNewName("www.a.test."), Type: dnsmessage.TypeAAAA, Class: dnsmessage.ClassINET}
	if m.ID != 7 || !m.RecursionDesired || m.Response || len(m.Questions) != 1 || m.Questions[0] != want {
		t.Error(m.GoString())
	}
	for _, name := range []string{"a.test", "a..test.", string(make([]byte, 300)) + "."} {
		if _, err := AppendQuery(nil, 7, name, dnsmessage.TypeA); err == nil {
			t.Errorf("%q is asked for", name)
		}
	}
}
