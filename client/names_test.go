package client

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/mpsocks/mpsocks/client/admission"
	"github.com/mpsocks/mpsocks/mux/packet"
	"github.com/mpsocks/mpsocks/mux/records"
)

// zone answers questions to the resolver, and echoes everything else.
type zone struct {
	addrs map[string][]string // no entry: no such name
	ttl   uint32
	mute  atomic.Bool // questions get no answer
	fail  atomic.Bool // SERVFAIL

	mu    sync.Mutex
	asked map[string]int // A questions
}

func (z *zone) answer(h packet.UDP, payload []byte) [][]byte {
	if h.Dst != resolver {
		return echo(h, payload)
	}
	return z.answerAs(h, payload)
}

// answerAs answers a question from wherever it went.
func (z *zone) answerAs(h packet.UDP, payload []byte) [][]byte {
	var p dnsmessage.Parser
	head, err := p.Start(payload)
	if err != nil {
		panic(err)
	}
	q, err := p.Question()
	if err != nil {
		panic(err)
	}
	host := strings.TrimSuffix(q.Name.String(), ".")
	z.mu.Lock()
	if z.asked == nil {
		z.asked = map[string]int{}
	}
	if q.Type == dnsmessage.TypeA {
		z.asked[host]++
	}
	z.mu.Unlock()
	if z.mute.Load() {
		return nil
	}
	return [][]byte{respond(h, z.message(head.ID, q, host))}
}

func (z *zone) message(id uint16, q dnsmessage.Question, host string) []byte {
	head := dnsmessage.Header{ID: id, Response: true}
	addrs, ok := z.addrs[host]
	switch {
	case z.fail.Load():
		head.RCode = dnsmessage.RCodeServerFailure
	case !ok:
		head.RCode = dnsmessage.RCodeNameError
	}
	b := dnsmessage.NewBuilder(nil, head)
	must(b.StartQuestions(), b.Question(q), b.StartAnswers())
	rh := dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: z.ttl}
	for _, s := range addrs {
		a := netip.MustParseAddr(s)
		switch {
		case head.RCode != 0:
		case a.Is4() && q.Type == dnsmessage.TypeA:
			must(b.AResource(rh, dnsmessage.AResource{A: a.As4()}))
		case a.Is6() && q.Type == dnsmessage.TypeAAAA:
			must(b.AAAAResource(rh, dnsmessage.AAAAResource{AAAA: a.As16()}))
		}
	}
	if !ok {
		must(b.StartAuthorities(), b.SOAResource(rh, dnsmessage.SOAResource{NS: q.Name, MBox: q.Name, MinTTL: 7}))
	}
	out, err := b.Finish()
	must(err)
	return out
}

func (z *zone) count(host string) int {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.asked[host]
}

func must(errs ...error) {
	if err := errors.Join(errs...); err != nil {
		panic(err)
	}
}

func TestNameDestinations(t *testing.T) {
	z := &zone{ttl: 300, addrs: map[string][]string{
		"four.test": {"192.0.2.4"}, "six.test": {"2001:db8::6"}, "both.test": {"2001:db8::b", "192.0.2.11"}, "none.test": {},
	}}
	c := start(t, &fakeTunnel{answer: z.answer}, nil)
	_, relay := associated(t, c, anywhere)
	a := newApp(t, "127.0.0.1", relay)
	for _, tt := range []struct{ host, addr string }{
		{"four.test", "192.0.2.4:7"},
		{"FOUR.test.", "192.0.2.4:7"},
		{"six.test", "[2001:db8::6]:7"},
		{"both.test", "192.0.2.11:7"},
		{"192.0.2.99", "192.0.2.99:7"},
		{"four.test", "192.0.2.4:7"},
	} {
		a.send(t, datagram(0, tt.host+":7", []byte(tt.host)))
		if from, got := a.receive(t); from.String() != tt.addr || string(got) != tt.host {
			t.Errorf("%s: %q from %s, want %s", tt.host, got, from, tt.addr)
		}
	}
	if n := z.count("four.test"); n != 1 {
		t.Errorf("four.test was asked for %d times", n)
	}
	for i, host := range []string{"none.test", "nowhere.test"} {
		for range 2 {
			a.send(t, datagram(0, host+":7", nil))
		}
		eventually(t, host+" is dropped", func() bool { return c.drops[dropName].Load() == uint64(2*i+2) })
		if n := z.count(host); n != 1 {
			t.Errorf("%s was asked for %d times", host, n)
		}
	}
	// A literal IPv6 address has colons, which datagram cannot write.
	b := append([]byte{0, 0, 0, 3, 11}, "2001:db8::7\x00\x07x"...)
	a.send(t, b)
	if from, _ := a.receive(t); from.String() != "[2001:db8::7]:7" {
		t.Errorf("from %s", from)
	}
}

// The IPv6 addresses of a name are kept behind the others though its IPv4 ones come first and
// are used at once: they may be those that answer. Nothing of the question stays, also where
// that reply never comes.
func TestLateFamilyIsKept(t *testing.T) {
	z := &zone{ttl: 300, addrs: map[string][]string{"both.test": {"192.0.2.11", "2001:db8::b", "2001:db8::c"}, "four.test": {"192.0.2.4"}}}
	c := start(t, &fakeTunnel{answer: func(h packet.UDP, payload []byte) [][]byte {
		var p dnsmessage.Parser
		if _, err := p.Start(payload); h.Dst == resolver && err == nil {
			if q, err := p.Question(); err == nil && q.Type == dnsmessage.TypeAAAA && q.Name.String() == "four.test." {
				return nil
			}
		}
		return z.answer(h, payload)
	}}, nil)
	_, relay := associated(t, c, anywhere)
	a := newApp(t, "127.0.0.1", relay)
	for host, want := range map[string]int{"both.test": 2, "four.test": 0} {
		a.send(t, datagram(0, host+":7", nil))
		a.receive(t)
		n := c.names.find([]byte(host))
		eventually(t, "the answer is whole", func() bool {
			a := n.answer.Load() // which comes after what has waited for it is sent
			return a != nil && len(a.others) == want
		})
		c.names.mu.Lock()
		n.since = n.since.Add(-questionTime)
		c.names.mu.Unlock()
	}
	eventually(t, "no question is open", func() bool {
		c.names.mu.Lock()
		defer c.names.mu.Unlock()
		return len(c.names.open) == 0
	})
}

// TestRecentNamesInAnySpelling wants a name that was just used to be found
// without the shared table, which here has forgotten it.
func TestRecentNamesInAnySpelling(t *testing.T) {
	a := bare(t, new(sink))
	in := &a.inner
	n := in.name([]byte("Four.Test."))
	other := in.name([]byte("other.test"))
	clear(a.client.names.byHost)
	for _, host := range []string{"Four.Test.", "four.test", "FOUR.TEST", "four.test.", "fOUR.tEST"} {
		if in.name([]byte(host)) != n {
			t.Errorf("%s is looked up anew", host)
		}
	}
	for _, host := range []string{"four.tes", "four.test..", "four-test", "five.test", "other.test.x"} {
		if got := in.name([]byte(host)); got == n || got == other {
			t.Errorf("%s is taken for %s", host, got.host)
		}
	}
	if len(in.recent) != recentNames {
		t.Errorf("%d names are remembered", len(in.recent))
	}
}

func TestDatagramsWaitForTheirNameInOrder(t *testing.T) {
	z := &zone{ttl: 300, addrs: map[string][]string{"slow.test": {"192.0.2.4"}}}
	z.mute.Store(true)
	f := &fakeTunnel{answer: z.answer}
	c := start(t, f, nil)
	_, relay := associated(t, c, anywhere)
	a := newApp(t, "127.0.0.1", relay)
	for i := range maxWaitingEach + 10 {
		a.send(t, datagram(0, "slow.test:7", []byte{byte(i)}))
	}
	eventually(t, "too many are dropped", func() bool { return c.drops[dropNameQueue].Load() == 10 })
	a.echoes(t, "192.0.2.1:7", []byte("others do not wait"))
	z.mute.Store(false) // the question is asked again
	for i := range maxWaitingEach {
		if _, got := a.receive(t); got[0] != byte(i) {
			t.Fatalf("datagram %d came as number %d", got[0], i)
		}
	}
	if n := z.count("slow.test"); n != 2 {
		t.Errorf("asked %d times", n)
	}
	// The last datagram is out before the question is closed.
	eventually(t, "no bytes and no questions are left", func() bool {
		c.names.mu.Lock()
		defer c.names.mu.Unlock()
		return c.names.bytes == 0 && len(c.names.open) == 0
	})
}

func TestNameWithoutAnswer(t *testing.T) {
	z := &zone{ttl: 300}
	z.fail.Store(true)
	c := start(t, &fakeTunnel{answer: z.answer}, nil)
	_, relay := associated(t, c, anywhere)
	a := newApp(t, "127.0.0.1", relay)
	a.send(t, datagram(0, "fail.test:7", nil))
	eventually(t, "SERVFAIL drops", func() bool { return c.drops[dropName].Load() == 1 })
	z.fail.Store(false)
	z.mute.Store(true)
	a.send(t, datagram(0, "mute.test:7", nil))
	eventually(t, "silence drops", func() bool {
		if questionTime > 4*time.Second {
			// Do not wait that long: let the question look older.
			c.names.mu.Lock()
			for _, n := range c.names.open {
				n.since = n.since.Add(-time.Second)
			}
			c.names.mu.Unlock()
		}
		return c.drops[dropName].Load() == 2
	})
}

// An answer that comes when nobody waits for it any more, as by a path with round trips of six
// seconds, serves whoever asks next, and those who have asked again meanwhile.
func TestAnswerAfterItsTime(t *testing.T) {
	z := &zone{ttl: 300, addrs: map[string][]string{"far.test": {"192.0.2.4"}, "again.test": {"192.0.2.5"}}}
	var mu sync.Mutex
	var way [][]byte // answers that are under way
	f := &fakeTunnel{}
	f.answer = func(h packet.UDP, payload []byte) [][]byte {
		if h.Dst != resolver {
			return echo(h, payload)
		}
		mu.Lock()
		defer mu.Unlock()
		way = append(way, z.answerAs(h, payload)...)
		return nil
	}
	c := start(t, f, nil)
	_, relay := associated(t, c, anywhere)
	a := newApp(t, "127.0.0.1", relay)
	for i, host := range []string{"far.test", "again.test"} {
		a.send(t, datagram(0, host+":7", nil))
		n := c.names.find([]byte(host))
		eventually(t, "nobody waits any more", func() bool {
			c.names.mu.Lock()
			defer c.names.mu.Unlock()
			if n.asking && !n.settled && n.ticks > 0 {
				n.since = n.since.Add(-time.Second)
			}
			return c.drops[dropName].Load() == uint64(i+1) && !n.asking
		})
		mu.Lock()
		came := way
		way = nil
		mu.Unlock()
		if host == "again.test" {
			n.answer.Store(new(answer)) // which is none any more
			a.send(t, datagram(0, host+":7", nil))
			eventually(t, "it is asked for again", func() bool { return z.count(host) > len(came)/2 })
		}
		f.mu.Lock()
		f.replies = append(f.replies, came...)
		f.mu.Unlock()
		f.Flush()
		eventually(t, host+" is known", func() bool { return n.answer.Load().addr.IsValid() })
		if host == "far.test" {
			a.send(t, datagram(0, host+":7", nil))
		}
		if from, _ := a.receive(t); from != netip.AddrPortFrom(netip.MustParseAddr(z.addrs[host][0]), 7) {
			t.Errorf("%s is %s", host, from)
		}
	}
	eventually(t, "no question is open", func() bool {
		c.names.mu.Lock()
		defer c.names.mu.Unlock()
		return len(c.names.open) == 0
	})
}

func TestStaleAnswerServesWhileAsking(t *testing.T) {
	z := &zone{ttl: 300, addrs: map[string][]string{"moved.test": {"192.0.2.4"}}}
	c := start(t, &fakeTunnel{answer: z.answer}, nil)
	_, relay := associated(t, c, anywhere)
	a := newApp(t, "127.0.0.1", relay)
	port := 7
	ask := func() netip.AddrPort { // by a new flow: a live one keeps its address
		port++
		a.send(t, datagram(0, fmt.Sprintf("moved.test:%d", port), nil))
		from, _ := a.receive(t)
		return from
	}
	ask()
	n := c.names.find([]byte("moved.test"))
	eventually(t, "the answer serves", func() bool { return n.answer.Load() != nil }) // it is published when nobody waits any more
	old := n.answer.Load()
	n.answer.Store(&answer{netip.MustParseAddr("192.0.2.3"), nil, time.Now().Add(-time.Second), old.stale})
	if from := ask(); from.Addr() != netip.MustParseAddr("192.0.2.3") {
		t.Errorf("the stale answer did not serve: %s", from)
	}
	eventually(t, "the new answer is there", func() bool { return n.answer.Load().addr == netip.MustParseAddr("192.0.2.4") })
	n.answer.Store(&answer{netip.MustParseAddr("192.0.2.3"), nil, time.Now().Add(-time.Minute), time.Now().Add(-time.Second)})
	if from := ask(); from.Addr() != netip.MustParseAddr("192.0.2.4") {
		t.Errorf("too old an answer served: %s", from)
	}
}

func TestNamesAreBounded(t *testing.T) {
	c := start(t, &fakeTunnel{}, nil)
	for i := range 2 * maxNames {
		if c.names.find(fmt.Appendf(nil, "n%d.test", i)) == nil {
			t.Fatalf("no room for name %d", i)
		}
	}
	if n := c.Status().Names; n != maxNames {
		t.Errorf("%d names", n)
	}
}

func TestJudge(t *testing.T) {
	v4, v6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	now := time.Now()
	none := &reply{ttl: 20 * time.Second}
	failed := &reply{failed: true}
	for _, tt := range []struct {
		name   string
		a4, a6 *reply
		done   bool
		addr   netip.Addr
		fresh  time.Duration
	}{
		{"v4 is enough", &reply{addr: v4, ttl: time.Minute}, nil, true, v4, time.Minute},
		{"v6 waits for v4", nil, &reply{addr: v6}, false, netip.Addr{}, 0},
		{"v6 only", none, &reply{addr: v6, ttl: time.Minute}, true, v6, time.Minute},
		{"v4 failed", failed, &reply{addr: v6, ttl: time.Minute}, true, v6, time.Minute},
		{"neither", none, &reply{ttl: 30 * time.Second}, true, netip.Addr{}, 20 * time.Second},
		{"one failed", none, failed, true, netip.Addr{}, failTTL},
		{"zero TTL", &reply{addr: v4}, nil, true, v4, minTTL},
	} {
		n := &name{replies: [2]*reply{tt.a4, tt.a6}}
		a, done := n.judge(now)
		if done != tt.done || done && (a.addr != tt.addr || a.fresh.Sub(now) != tt.fresh) {
			t.Errorf("%s: %+v, %v", tt.name, a, done)
		}
	}
}

func TestHostNames(t *testing.T) {
	long := strings.Repeat("a", 63)
	for _, tt := range []struct {
		in, want string
		ok       bool
	}{
		{"Example.COM", "example.com", true},
		{"example.com.", "example.com", true},
		{"_srv.x-y", "_srv.x-y", true},
		{"münchen.de", "münchen.de", true},
		{long + ".b", long + ".b", true},
		{long + "a.b", "", false},
		{strings.Repeat("a.", 127) + "b", "", false},
		{"", "", false},
		{".", "", false},
		{".a", "", false},
		{"a..b", "", false},
		{"a b", "", false},
		{"a\x00b", "", false},
	} {
		got, ok := appendHost(nil, []byte(tt.in))
		if ok != tt.ok || ok && string(got) != tt.want {
			t.Errorf("%q: %q, %v", tt.in, got, ok)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	z := &zone{ttl: 60, addrs: map[string][]string{"a.test": {"192.0.2.1", "2001:db8::1"}}}
	for _, typ := range questionTypes {
		q := dnsmessage.Question{Name: dnsmessage.MustNewName("a.test."), Type: typ, Class: dnsmessage.ClassINET}
		f.Add(z.message(1, q, "a.test"))
		f.Add(z.message(1, q, "b.test"))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for i, typ := range questionTypes {
			var p dnsmessage.Parser
			h, err := p.Start(b)
			if err != nil {
				return
			}
			r, err := parseAnswer(&p, h, "a.test", typ)
			if err == nil && (r.ttl < 0 || r.ttl > records.MaxTTL || i == 0 && r.addr.IsValid() && !r.addr.Is4()) {
				t.Fatalf("% x: %+v", b, r)
			}
		}
	})
}

func FuzzHost(f *testing.F) {
	f.Add("Example.com.")
	f.Add("[::1]")
	f.Fuzz(func(t *testing.T, host string) {
		out, ok := appendHost(nil, []byte(host))
		if !ok {
			return
		}
		if !sameHost([]byte(host), string(out)) || sameHost([]byte(host), string(out)+"x") {
			t.Fatalf("%q is not the same as its canonical form %q, or as another", host, out)
		}
		if again, ok := appendHost(nil, out); !ok || string(again) != string(out) {
			t.Fatalf("%q gives %q, which gives %q, %v", host, out, again, ok)
		}
		if _, err := records.AppendQuery(nil, 1, string(out)+".", dnsmessage.TypeA); err != nil {
			t.Fatalf("%q cannot be asked for: %v", out, err)
		}
		parseLiteral(string(out))
	})
}

// An answer counts if it is the resolver's, and repeats the question.
func TestForgedAnswers(t *testing.T) {
	z := &zone{ttl: 300, addrs: map[string][]string{"right.test": {"192.0.2.4"}, "wrong.test": {"192.0.2.66"}}}
	question := func(host string, typ dnsmessage.Type) dnsmessage.Question {
		return dnsmessage.Question{Name: dnsmessage.MustNewName(host + "."), Type: typ, Class: dnsmessage.ClassINET}
	}
	for _, c := range []struct {
		name string
		host string
		typ  dnsmessage.Type
		ok   bool
	}{
		{"as asked", "right.test", dnsmessage.TypeA, true},
		{"in other letters", "RIGHT.test", dnsmessage.TypeA, true},
		{"about another name", "wrong.test", dnsmessage.TypeA, false},
		{"about another type", "right.test", dnsmessage.TypeAAAA, false},
	} {
		var p dnsmessage.Parser
		head, err := p.Start(z.message(1, question(c.host, c.typ), strings.ToLower(c.host)))
		must(err)
		r, err := parseAnswer(&p, head, "right.test", dnsmessage.TypeA)
		if (err == nil) != c.ok || c.ok && r.addr != netip.MustParseAddr("192.0.2.4") {
			t.Errorf("%s: %v, %v", c.name, r.addr, err)
		}
	}
	// From anybody else it is not even looked at.
	forger := netip.MustParseAddrPort("198.51.100.1:53")
	c := start(t, &fakeTunnel{answer: func(h packet.UDP, payload []byte) [][]byte {
		if h.Dst == resolver {
			h.Dst = forger // whence the answer comes
			return z.answerAs(h, payload)
		}
		return echo(h, payload)
	}}, nil)
	n := c.names.find([]byte("right.test"))
	c.names.refresh(n, admission.Holder{}, time.Now())
	c.tunnel.Flush()
	eventually(t, "the forged answers are dropped", func() bool { return c.drops[dropPacket].Load() >= 2 })
	if a := n.answer.Load(); a != nil && a.addr.IsValid() {
		t.Errorf("%v is believed", a.addr)
	}
}
