package names

import (
	"bytes"
	"context"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/mpsocks/mpsocks/mux/resolvconf"
	"github.com/mpsocks/mpsocks/server/names/namestest"
)

// silent is a name server that says nothing.
func silent(t *testing.T) netip.AddrPort {
	return namestest.Server(t, func(string, dnsmessage.Message) *dnsmessage.Message { return nil })
}

// TestSilentUpstream: with the first name server silent the first name is through before
// its time is over, and for those that follow the other one is asked first.
func TestSilentUpstream(t *testing.T) {
	mute := silent(t)
	at := namestest.Server(t, func(_ string, m dnsmessage.Message) *dnsmessage.Message {
		if m.Questions[0].Type == dnsmessage.TypeA {
			return namestest.AddA(m, 60, "192.0.2.1")
		}
		return &m
	})
	r := only(t.Context(), mute, at)
	for _, name := range []string{"first.test", "second.test"} {
		start := time.Now()
		got, _ := r.addrs(t.Context(), name, func() {})
		if diff := cmp.Diff(addrsOf("192.0.2.1"), got.Addrs, sameAddrs); diff != "" || got.Err != nil {
			t.Errorf("%v %s", got.Err, diff)
		}
		if took := time.Since(start); took > queryTimeout {
			t.Errorf("%s took %v", name, took)
		}
		if first := r.questions.lively(r.from.Upstreams().Servers)[0]; first != at {
			t.Errorf("after %s, %v would be asked first", name, first)
		}
	}
}

// TestFamiliesApart: a question for IPv6 addresses that nobody answers, or that fails,
// does not keep the IPv4 ones, and late ones are not lost.
func TestFamiliesApart(t *testing.T) {
	release := make(chan struct{})
	at := namestest.Server(t, func(_ string, m dnsmessage.Message) *dnsmessage.Message {
		six := m.Questions[0].Type == dnsmessage.TypeAAAA
		switch name := m.Questions[0].Name.String(); {
		case !six && name != "six.test.":
			return namestest.AddA(m, 60, "192.0.2.1")
		case !six:
			m.RCode = dnsmessage.RCodeServerFailure
			return &m
		case name == "six.test.":
			return namestest.AddAAAA(m, 60, "2001:db8::6")
		case name == "broken.test.":
			m.RCode = dnsmessage.RCodeServerFailure
			return &m
		}
		<-release
		return namestest.AddAAAA(m, 60, "2001:db8::1")
	})
	r := only(t.Context(), at)
	start := time.Now()
	got, more := r.addrs(t.Context(), "late.test", func() {})
	if diff := cmp.Diff(addrsOf("192.0.2.1"), got.Addrs, sameAddrs); diff != "" || more == nil {
		t.Fatalf("%v %s", got.Err, diff)
	}
	if took := time.Since(start); took > queryTimeout/2 { // who waits for both would wait for all of it
		t.Errorf("took %v", took)
	}
	close(release)
	if late := <-more; len(late.Addrs) != 1 {
		t.Errorf("the late family: %+v", late)
	}
	if got, _ := r.addrs(t.Context(), "broken.test", func() {}); got.Err != nil || len(got.Addrs) != 1 {
		t.Errorf("%+v", got)
	}
	if got, _ := r.addrs(t.Context(), "six.test", func() {}); got.Err != nil || len(got.Addrs) != 1 {
		t.Errorf("%+v", got)
	}
}

// TestOneQuestion: those who ask the same at once share one question, and the next
// ones the answer.
func TestOneQuestion(t *testing.T) {
	var asked atomic.Int32
	release := make(chan struct{})
	at := namestest.Server(t, func(_ string, m dnsmessage.Message) *dnsmessage.Message {
		asked.Add(1)
		<-release
		return namestest.AddA(m, 60, "192.0.2.1")
	})
	r := only(t.Context(), at)
	done := make(chan bool)
	for range 20 {
		go func() { done <- r.find(t.Context(), "Example.com", dnsmessage.TypeA).failed() }()
	}
	time.Sleep(50 * time.Millisecond)
	close(release)
	for range 20 {
		if <-done {
			t.Error("failed")
		}
	}
	r.find(t.Context(), "EXAMPLE.com.", dnsmessage.TypeA)
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

// TestWrongQuestion: an answer to another question is nobody's (RFC 5452, Section
// 9.1), though ID, port and server are right.
func TestWrongQuestion(t *testing.T) {
	at := namestest.Server(t, func(_ string, m dnsmessage.Message) *dnsmessage.Message {
		m.Questions[0].Name = dnsmessage.MustNewName("evil.test.")
		return namestest.AddA(m, 60, "203.0.113.66")
	})
	r := only(t.Context(), at)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if got, _ := r.addrs(ctx, "good.test", func() {}); got.Err == nil {
		t.Errorf("believed: %v", got.Addrs)
	}
	if m := namestest.Unpack(t, r.answer(ctx, namestest.Question("good.test.", dnsmessage.TypeA))); len(m.Answers) > 0 {
		t.Errorf("passed on: %v", m.GoString())
	}
}

// A response repeats the question in whatever letters, and no other one.
func TestResponds(t *testing.T) {
	query := namestest.Question("Mixed.Example.com.", 'A') // HTTPS, RFC 9460
	end := len(query)
	for _, c := range []struct {
		name string
		want bool
		edit func(b []byte)
	}{
		{"as asked", true, func([]byte) {}},
		{"in small letters", true, func(b []byte) { copy(b[headerLen:], bytes.ToLower(b[headerLen:end-4])) }},
		{"of another name", false, func(b []byte) { b[headerLen+1] = 'x' }},
		{"of another type", false, func(b []byte) { b[end-3] = 28 }},
		{"of a type that differs as letters do", false, func(b []byte) { b[end-3] = 'a' }},
		{"with another ID", false, func(b []byte) { b[0] ^= 1 }},
		{"that is a query", false, func(b []byte) { b[2] &^= 0x80 }},
	} {
		msg := bytes.Clone(query)
		msg[2] |= 0x80
		c.edit(msg)
		if got := responds(msg, query, end); got != c.want {
			t.Errorf("one %s: %v", c.name, got)
		}
	}
}

func TestCandidates(t *testing.T) {
	c := upstreamsOf(resolvconf.Parse("nameserver 192.0.2.1\nsearch a.test. B.test\noptions ndots:2\n"))
	for _, tt := range []struct {
		host string
		want []string
	}{
		{"host", []string{"host.a.test.", "host.b.test.", "host."}},
		{"www.host", []string{"www.host.a.test.", "www.host.b.test.", "www.host."}},
		{"a.b.c.", []string{"a.b.c.", "a.b.c.a.test.", "a.b.c.b.test."}},
		{".", []string{"."}},
	} {
		if diff := cmp.Diff(tt.want, c.candidates(tt.host)); diff != "" {
			t.Errorf("%s: %s", tt.host, diff)
		}
	}
}
