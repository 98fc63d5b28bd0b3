package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/google/go-cmp/cmp"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/tcpio"
)

func addrsOf(texts ...string) (out []netip.Addr) {
	for _, t := range texts {
		out = append(out, netip.MustParseAddr(t))
	}
	return out
}

var sameAddrs = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

// addAAAA adds IPv6 addresses to an answer.
func addAAAA(m dnsmessage.Message, ttl uint32, addrs ...string) *dnsmessage.Message {
	for _, a := range addrs {
		m.Answers = append(m.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET, TTL: ttl},
			Body:   &dnsmessage.AAAAResource{AAAA: netip.MustParseAddr(a).As16()},
		})
	}
	return &m
}

// TestKnownNames: an answer serves for its TTL, which runs down, and no longer.
func TestKnownNames(t *testing.T) {
	name := dnsmessage.MustNewName("example.com.")
	q := dnsmessage.Question{Name: name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}
	header := dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET, TTL: 100}
	key := knownKey{"example.com.", dnsmessage.TypeA}
	synctest.Test(t, func(t *testing.T) {
		r := &resolver{}
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
		if m := unpack(t, got.response(query, q)); m.ID != 7 || m.Answers[0].Header.TTL != 60 {
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
	r := &resolver{}
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
	at := dnsServer(t, func(_ string, m dnsmessage.Message) *dnsmessage.Message {
		six := m.Questions[0].Type == dnsmessage.TypeAAAA
		switch {
		case !six:
			return addA(m, 60, "192.0.2.1")
		case m.Questions[0].Name.String() == "both.test.":
			return addAAAA(m, 60, "2001:db8::1")
		}
		return &m
	})
	r := &resolver{put: ask, life: t.Context(), config: upstreams(at), hosts: noNames, system: noNames, reach: netip.Addr.Is6}
	for _, tt := range []struct {
		name string
		kind dnsmessage.Type
		want int
	}{{"both.test.", dnsmessage.TypeA, 0}, {"both.test.", dnsmessage.TypeAAAA, 1}, {"four.test.", dnsmessage.TypeA, 1}} {
		m := unpack(t, r.answer(t.Context(), question(tt.name, tt.kind)))
		if m.RCode != 0 || len(m.Answers) != tt.want {
			t.Errorf("%s %v: %v", tt.name, tt.kind, m.GoString())
		}
	}
}

func TestCandidates(t *testing.T) {
	c := parseResolvConf([]byte("\nnameserver\nnameserver 192.0.2.1\n\ndomain old\nsearch a.test. B.test\noptions timeout:1 ndots:2\n"))
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

// TestLookupsOfConnects count in the quota of names, and wait for their turn.
func TestLookupsOfConnects(t *testing.T) {
	release := make(chan struct{})
	ln := listenTCP(t, "127.0.0.1:0")
	go func() {
		for c, err := ln.Accept(); err == nil; c, err = ln.Accept() {
			c.Close()
		}
	}()
	at := dnsServer(t, func(_ string, m dnsmessage.Message) *dnsmessage.Message {
		<-release
		if m.Questions[0].Type == dnsmessage.TypeA {
			return addA(m, 0, "127.0.0.1")
		}
		return &m
	})
	s := testServer(t, nil, func(s *Server) { s.resolver.config, s.resolver.hosts = upstreams(at), noNames })
	p := newPeer(s, "laptop", newFakeSession())
	s.resolver.asking.Cap(0, 2)
	codes := make(chan byte, 5)
	for i := range 5 {
		app, _ := openStream(t, p)
		go func() {
			code, _ := askConnect(t, app, 1, "name"+string(rune('a'+i))+".test", portOf(ln), "")
			codes <- code
		}()
	}
	eventually(t, "three wait", func() bool { return waiting(p) == 3 })
	if n := s.resolver.asking.Held(); n != 2 {
		t.Errorf("%d names are being resolved", n)
	}
	close(release)
	for range 5 {
		if code := <-codes; code != 0 {
			t.Errorf("reply %d", code)
		}
	}
	// The questions for IPv6 may end after the replies.
	eventually(t, "none is held", func() bool { return s.resolver.asking.Held() == 0 })
}

// A client hears that a name is known, and not before, though nobody answers at its address;
// of an address it hears nothing until it is reached or not.
func TestConnectSaysThatANameIsKnown(t *testing.T) {
	release := make(chan struct{})
	at := dnsServer(t, func(_ string, m dnsmessage.Message) *dnsmessage.Message {
		<-release
		if m.Questions[0].Type == dnsmessage.TypeA {
			return addA(m, 0, "127.0.0.1")
		}
		return &m
	})
	s := testServer(t, nil, func(s *Server) { s.resolver.config, s.resolver.hosts = upstreams(at), noNames })
	dialled, end := make(chan struct{}), make(chan struct{})
	s.dialer.to = func(context.Context, netip.AddrPort, manner) (tcpio.Socket, error) {
		dialled <- struct{}{}
		<-end
		return nil, &dialError{"nobody answers", errNoName}
	}
	p := newPeer(s, "laptop", newFakeSession())
	silent := func(app *net.TCPConn) {
		t.Helper()
		_ = app.SetReadDeadline(time.Now().Add(2 * knownTime))
		if n, err := app.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%d bytes came: %v", n, err)
		}
		_ = app.SetReadDeadline(time.Now().Add(20 * time.Second))
	}
	app, _ := openStream(t, p)
	_, _ = app.Write(append([]byte{5, 1, 0, 5, 1, 0, 3, 9}, "name.test\x00\x50"...))
	eventually(t, "it is asked for", func() bool { return s.resolver.asking.Held() == 1 })
	silent(app)
	close(release)
	<-dialled
	var method [2]byte
	if _, err := io.ReadFull(app, method[:]); err != nil || method != [2]byte{5, 0} {
		t.Errorf("% x, %v", method, err)
	}
	end <- struct{}{}
	app, _ = openStream(t, p)
	_, _ = app.Write([]byte{5, 1, 0, 5, 1, 0, 1, 127, 0, 0, 1, 0, 80})
	<-dialled
	silent(app)
	end <- struct{}{}
}

// TestManyAddresses: a name with 1,200 addresses makes a few attempts at once and some
// 20 in all, and an address that did not answer is tried last the next time.
func TestManyAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDialer(&egress{})
		var running, most, all atomic.Int32
		d.to = func(ctx context.Context, to netip.AddrPort, _ manner) (tcpio.Socket, error) {
			all.Add(1)
			if n := running.Add(1); n > most.Load() {
				most.Store(n)
			}
			defer running.Add(-1)
			if to.Addr().As4()[3]%2 == 0 {
				return nil, &dialError{wordRefused, nil}
			}
			<-ctx.Done()
			return nil, classed(ctx.Err())
		}
		var addrs []netip.Addr
		for i := range 1200 {
			addrs = append(addrs, netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}))
		}
		if _, err := d.connect(t.Context(), addrs, nil, 80, budget{}); rank(err) != rankRefused {
			t.Errorf("%v", err)
		}
		if most.Load() > maxRunning || all.Load() > maxAttempts {
			t.Errorf("%d at once, %d in all", most.Load(), all.Load())
		}
		if order := d.order(addrs[:4], 80); order[0] != addrs[0] || order[1] != addrs[2] {
			t.Errorf("silent addresses are tried early: %v", order)
		}
		if order := d.order(addrs[:4], 443); order[1] != addrs[1] {
			t.Errorf("what did not answer at one port is tried late at another: %v", order)
		}
		time.Sleep(shunTime)
		if order := d.order(addrs[:2], 80); order[0] != addrs[0] {
			t.Errorf("never forgiven: %v", order)
		}
	})
}

// TestHostsFileInAnySpelling asks for a name of the hosts file as CONNECT does and as
// DNS does, which ends every name with a dot.
func TestHostsFileInAnySpelling(t *testing.T) {
	r := &resolver{put: ask, life: t.Context(), config: upstreams(), system: noNames, hosts: func(_ context.Context, _, host string) ([]netip.Addr, error) {
		if host != "box.test" {
			return nil, errors.New("not there")
		}
		return []netip.Addr{netip.MustParseAddr("192.0.2.7")}, nil
	}}
	for _, host := range []string{"box.test", "box.test.", "Box.TEST."} {
		k := r.find(t.Context(), host, dnsmessage.TypeA)
		if k == nil || len(k.addrs) != 1 || k.addrs[0] != netip.MustParseAddr("192.0.2.7") {
			t.Errorf("%s: %+v", host, k)
		}
	}
}

// TestRebinding: a name's addresses are public when they are looked at and private when
// they are asked for again, at once. What was judged is what is connected to, and a name
// is judged each time; a mapped or translated form in an answer is what it leads to.
func TestRebinding(t *testing.T) {
	trap := listenTCP(t, "127.0.0.1:0") // must not be reached
	var trapped atomic.Int32
	go func() {
		for {
			c, err := trap.Accept()
			if err != nil {
				return
			}
			trapped.Add(1)
			c.Close()
		}
	}()
	var asked atomic.Int32
	at := dnsServer(t, func(_ string, m dnsmessage.Message) *dnsmessage.Message {
		q := m.Questions[0]
		switch name := q.Name.String(); {
		case name == "rebind.test." && q.Type == dnsmessage.TypeA:
			if asked.Add(1)%2 == 1 {
				return addA(m, 0, "192.0.2.1")
			}
			return addA(m, 0, "127.0.0.1")
		case name == "mixed.test." && q.Type == dnsmessage.TypeA:
			return addA(m, 0, "127.0.0.1", "192.0.2.1", "10.0.0.1", "0.0.0.0", "224.0.0.1")
		case name == "mixed.test.":
			return addAAAA(m, 0, "::ffff:127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::7f00:1", "2002:7f00:1::", "::1", "::", "fe80::1", "ff02::1", "::127.0.0.1")
		}
		return &m
	})
	var dialled sync.Map
	s := testServer(t, func(c *conf.Server) { c.Relay.Allow = nil }, func(s *Server) {
		s.resolver.config, s.resolver.hosts, s.resolver.system = upstreams(at), noNames, noNames
		s.dialer.to = func(_ context.Context, to netip.AddrPort, _ manner) (tcpio.Socket, error) {
			dialled.Store(to, true)
			return nil, &dialError{wordRefused, nil}
		}
	})
	p := newPeer(s, "laptop", newFakeSession())
	port := portOf(trap)
	ask := func(host string) byte {
		app, done := openStream(t, p)
		code, _ := askConnect(t, app, 1, host, port, "")
		app.Close()
		<-done
		return code
	}
	for i := range 6 { // each CONNECT is judged anew
		want := byte(5) // the public one was dialled
		if i%2 == 1 {
			want = 2
		}
		if got := ask("rebind.test"); got != want {
			t.Errorf("time %d: reply %d, want %d", i, got, want)
		}
	}
	if got := ask("mixed.test"); got != 5 {
		t.Errorf("a name with one public address: reply %d", got)
	}
	// Numbers that the C library would take for 127.0.0.1 are names, which nobody has.
	for _, host := range []string{"127.1", "0x7f.1", "0x7f000001", "2130706433", "017700000001", "127.0.0.1.", "::ffff:7f00:1", "[::1]", "::1%lo", "0", "0.0.0.0"} {
		if got := ask(host); got == 0 || got == 5 {
			t.Errorf("%s: reply %d", host, got)
		}
	}
	dialled.Range(func(to, _ any) bool {
		if a := to.(netip.AddrPort).Addr(); a != netip.MustParseAddr("192.0.2.1") {
			t.Errorf("%s was dialled", to)
		}
		return true
	})
	if n := trapped.Load(); n > 0 {
		t.Errorf("loopback was reached %d times", n)
	}
}

// TestTheOtherFamilyComesLate: of a name whose IPv6 addresses may not be reached, or do not
// answer, the IPv4 ones are used that come after them, and what is being asked is counted
// until all is answered.
func TestTheOtherFamilyComesLate(t *testing.T) {
	release := make(chan struct{})
	at := dnsServer(t, func(_ string, m dnsmessage.Message) *dnsmessage.Message {
		if q := m.Questions[0]; q.Type == dnsmessage.TypeAAAA {
			if q.Name.String() == "inside.test." {
				return addAAAA(m, 0, "fd00::1")
			}
			return addAAAA(m, 0, "2001:db8::1")
		}
		<-release
		return addA(m, 0, "192.0.2.1")
	})
	works := listenTCP(t, "127.0.0.1:0")
	go func() {
		for {
			c, err := works.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	s := testServer(t, func(c *conf.Server) { c.Relay.Allow = nil }, func(s *Server) {
		s.resolver.config, s.resolver.hosts, s.resolver.system = upstreams(at), noNames, noNames
		s.dialer.to = func(_ context.Context, to netip.AddrPort, _ manner) (tcpio.Socket, error) {
			if to.Addr().Is6() {
				return nil, &dialError{wordNetwork, nil}
			}
			c, err := net.Dial("tcp", works.Addr().String())
			if err != nil {
				return nil, err
			}
			return c.(*net.TCPConn), nil
		}
	})
	p := newPeer(s, "laptop", newFakeSession())
	codes := make(chan byte, 2)
	for _, host := range []string{"inside.test", "outside.test"} {
		app, _ := openStream(t, p)
		go func() {
			code, _ := askConnect(t, app, 1, host, 443, "")
			codes <- code
			app.Close()
		}()
	}
	eventually(t, "both are being asked for", func() bool { return s.resolver.asking.Held() == 2 })
	time.Sleep(50 * time.Millisecond) // both have their IPv6 addresses by now, most likely; the questions go on
	if n := s.resolver.asking.Held(); n != 2 {
		t.Errorf("%d names are counted as being asked for", n)
	}
	close(release)
	for range 2 {
		if code := <-codes; code != 0 {
			t.Errorf("reply %d", code)
		}
	}
	eventually(t, "nothing is asked any more", func() bool { return s.resolver.asking.Held() == 0 })
}
