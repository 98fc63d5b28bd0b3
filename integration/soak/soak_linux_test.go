package main

import (
	"errors"
	"net"
	"reflect"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// A plan follows from its seed, ends in time, and leaves a path up whenever it does not
// say that nothing is.
func TestPlan(t *testing.T) {
	for seed := range uint64(30) {
		for _, length := range []time.Duration{time.Minute, 2 * time.Minute, 15 * time.Minute, time.Hour} {
			events := plan(seed, length, 3)
			if !reflect.DeepEqual(events, plan(seed, length, 3)) {
				t.Fatalf("seed %d: another plan the second time", seed)
			}
			p := paceOf(length)
			seen := map[string]bool{}
			for i, e := range events {
				seen[e.kind] = true
				if e.at+e.lasts > length {
					t.Fatalf("seed %d, %v: %v ends after the end", seed, length, &e)
				}
				if i > 0 && e.at < events[i-1].at {
					t.Fatalf("seed %d, %v: %v out of order", seed, length, &e)
				}
				if nothingUp(e.kind) {
					for _, f := range events {
						if (ofPath(f.kind) || nothingUp(f.kind)) && f != e && f.at < e.at+e.lasts && f.at+f.lasts > e.at {
							t.Fatalf("seed %d, %v: %v beside %v", seed, length, &f, &e)
						}
					}
				}
				if ofPath(e.kind) && !otherUp(events, &e, p.settle) {
					t.Fatalf("seed %d, %v: nothing is up beside %v", seed, length, &e)
				}
			}
			for _, kind := range kinds {
				if length >= 15*time.Minute && !seen[kind] {
					t.Errorf("seed %d, %v: never %s", seed, length, kind)
				}
			}
		}
	}
}

// otherUp says whether one path other than the event's is well for as long as the event
// lasts, or until another is.
func otherUp(events []event, e *event, settle time.Duration) bool {
	for at := e.at; at <= e.at+e.lasts; at += 50 * time.Millisecond {
		up := false
		for path := range 3 {
			bad := slices.ContainsFunc(events, func(f event) bool {
				return ofPath(f.kind) && f.path == path && f.at <= at && at < f.at+f.lasts+settle
			})
			up = up || !bad
		}
		if !up {
			return false
		}
	}
	return true
}

// What is excused is what an outage touched, and no more.
func TestOutages(t *testing.T) {
	var o outages
	now := time.Now()
	o.spans = []*span{{blackout, now.Add(10 * time.Second), now.Add(12 * time.Second)}, {noNames, now.Add(20 * time.Second), time.Time{}}}
	for _, c := range []struct {
		from, to int
		match    func(string) bool
		want     bool
	}{
		{0, 9, nothingUp, false},
		{0, 10, nothingUp, true},
		{11, 11, nothingUp, true},
		{12, 30, nothingUp, true},
		{13, 30, nothingUp, false},
		{13, 30, noName, true},
		{13, 19, noName, false},
		{11, 11, endsSession, false},
	} {
		if got := o.during(now.Add(time.Duration(c.from)*time.Second), now.Add(time.Duration(c.to)*time.Second), c.match); got != c.want {
			t.Errorf("%d to %d: %v", c.from, c.to, got)
		}
	}
}

// A byte that is altered, moved or of another stream is found out.
func TestContent(t *testing.T) {
	b := make([]byte, 1000)
	fill(b, 7, 0)
	for _, offset := range []int{0, 1, 7, 8, 333} {
		if !right(b[offset:], 7, uint64(offset)) {
			t.Errorf("from %d on: wrong", offset)
		}
		if right(b[offset:], 7, uint64(offset)+1) || right(b[offset:], 8, uint64(offset)) {
			t.Errorf("from %d on: right at another place", offset)
		}
		b[offset] ^= 1
		if right(b, 7, 0) {
			t.Errorf("byte %d altered: right", offset)
		}
		b[offset] ^= 1
	}
	fillDatagram(b, 3, 4)
	if flow, seq, whole := datagramOf(b); flow != 3 || seq != 4 || !whole {
		t.Error(flow, seq, whole)
	}
	for _, i := range []int{0, 7, 8, 999} {
		b[i] ^= 1
		if _, _, whole := datagramOf(b); whole {
			t.Errorf("byte %d altered: whole", i)
		}
		b[i] ^= 1
	}
}

// A leg takes each number once.
func TestLeg(t *testing.T) {
	var l leg
	for range 3 {
		l.send()
	}
	if _, fresh := l.take(1, true); !fresh {
		t.Error("the first was not new")
	}
	for _, again := range []struct {
		seq   uint32
		whole bool
	}{{1, true}, {2, false}, {3, true}} {
		if _, fresh := l.take(again.seq, again.whole); fresh {
			t.Errorf("%v was new", again)
		}
	}
	if l.doubled != 1 || l.altered != 2 || l.missing != 2 || l.complete() {
		t.Errorf("%+v", &l)
	}
}

func TestAnswers(t *testing.T) {
	for _, c := range []struct {
		name string
		kind dnsmessage.Type
		fail bool
		code dnsmessage.RCode
		n    int
	}{
		{"n1.soak.test.", dnsmessage.TypeA, false, dnsmessage.RCodeSuccess, 1},
		{"n1.soak.test.", dnsmessage.TypeAAAA, false, dnsmessage.RCodeSuccess, 1},
		{"n1.soak.test.", dnsmessage.TypeA, true, dnsmessage.RCodeServerFailure, 0},
		{"other.test.", dnsmessage.TypeA, false, dnsmessage.RCodeNameError, 0},
	} {
		query, err := (&dnsmessage.Message{Header: dnsmessage.Header{ID: 9}, Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(c.name), Type: c.kind, Class: dnsmessage.ClassINET}}}).Pack()
		if err != nil {
			t.Fatal(err)
		}
		var m dnsmessage.Message
		if err := m.Unpack(answerTo(query, c.fail)); err != nil || m.ID != 9 || m.RCode != c.code || len(m.Answers) != c.n {
			t.Errorf("%+v: %v, %v", c, m.GoString(), err)
		}
	}
	if answerTo([]byte("no question"), false) != nil {
		t.Error("an answer to none")
	}
}

// The minute that `make interop` has (seed 11) leaves nothing out.
func TestMinute(t *testing.T) {
	seen := map[string]bool{}
	for _, e := range plan(11, time.Minute, 3) {
		seen[e.kind] = true
	}
	for _, kind := range kinds {
		if !seen[kind] {
			t.Errorf("never %s", kind)
		}
	}
}

// A reset that the writer has heard of is one for the reader too, and nothing else is.
func TestEnding(t *testing.T) {
	a, b := tcpPair(t)
	_ = b.SetLinger(0)
	b.Close()
	var written error
	for written == nil { // the reset may take its time
		_, written = a.Write([]byte{1})
	}
	n, read := expect(a, 1, earlySize, func() {})
	if n != 0 || !errors.Is(read, errShort) {
		t.Fatalf("after the write that was told of the reset, reading gives %d bytes and %v", n, read)
	}
	if err := ending(read, written); !wasReset(err) {
		t.Errorf("reset, told to the writer: %v", err)
	}
	for _, written := range []error{nil, syscall.EPIPE, net.ErrClosed} {
		if err := ending(read, written); !errors.Is(err, errShort) {
			t.Errorf("an end too early with %v at the writer: %v", written, err)
		}
	}
	if err := ending(nil, syscall.ECONNRESET); err != nil {
		t.Errorf("an answer that is whole: %v", err)
	}
}

// tcpPair is a connection over loopback, both ends of it.
func tcpPair(t *testing.T) (a, b *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	d, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); d.Close() })
	return c.(*net.TCPConn), d.(*net.TCPConn)
}
