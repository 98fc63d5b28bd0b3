package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/tcpio"
)

// answersAfter is a resolver whose name server takes its time and knows one IPv4 address of
// every name.
func answersAfter(life context.Context, late time.Duration) *resolver {
	r := &resolver{life: life, config: upstreams(netip.MustParseAddrPort("192.0.2.53:53")), hosts: noNames, system: noNames}
	r.put = func(ctx context.Context, _ netip.AddrPort, msg []byte, _ int) ([]byte, error) {
		select {
		case <-time.After(late):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		var m dnsmessage.Message
		if err := m.Unpack(msg); err != nil {
			return nil, err
		}
		m.Response = true
		answer := &m
		if m.Questions[0].Type == dnsmessage.TypeA {
			answer = addA(m, 60, "192.0.2.1")
		}
		return answer.Pack()
	}
	return r
}

// TestLateAnswers: what a name server says after six seconds is used by who still waits and by
// who asks again, unless too many of its kind are waited for; one that says nothing is given up.
func TestLateAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := answersAfter(t.Context(), 6*time.Second)
		ask := func(name string, wait time.Duration) (*known, time.Duration) {
			ctx, cancel := context.WithTimeout(t.Context(), wait)
			defer cancel()
			begun := time.Now()
			return r.find(ctx, name, dnsmessage.TypeA), time.Since(begun)
		}
		if k, took := ask("late.test", queryTimeout); k != nil || took != queryTimeout {
			t.Errorf("%+v after %v", k, took)
		}
		time.Sleep(1100 * time.Millisecond)
		if k, took := ask("late.test", queryTimeout); k.failed() || took != 0 {
			t.Errorf("asked again: %+v after %v", k, took)
		}
		if k, took := ask("patient.test", lateTime); k.failed() || took != 6*time.Second {
			t.Errorf("who waits: %+v after %v", k, took)
		}
		r.late.Cap(1, 0)
		first := make(chan *known)
		go func() { k, _ := ask("one.test", lateTime); first <- k }()
		time.Sleep(time.Millisecond)
		if k, took := ask("other.test", lateTime); k != nil || took != queryTimeout {
			t.Errorf("beyond the cap: %+v after %v", k, took)
		}
		if k := <-first; k.failed() {
			t.Errorf("within the cap: %+v", k)
		}
		r = answersAfter(t.Context(), time.Hour)
		if k, took := ask("never.test", time.Minute); k != nil || took != lateTime {
			t.Errorf("silence: %+v after %v", k, took)
		}
		synctest.Wait()
		if n := r.late.Held(); n != 0 {
			t.Errorf("%d are still waited for", n)
		}
	})
}

// TestConnectToALateName: a CONNECT waits for a name that takes six seconds, and after five no
// longer in a place that others need.
func TestConnectToALateName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{exits: exits{idle: streamIdle}, start: time.Now(), dialer: newDialer(nil)}
		s.dialer.to = func(context.Context, netip.AddrPort, manner) (tcpio.Socket, error) {
			return nil, classed(errors.New("connection refused"))
		}
		s.rules.current.Store(&access{})
		s.roll.open(&conf.Server{}, nil)
		s.ctx, s.cancel = context.WithCancel(context.Background())
		defer s.cancel()
		s.resolver = answersAfter(s.ctx, 6*time.Second)
		p := newPeer(s, "laptop", newFakeSession())
		defer p.cancel(nil)
		app, far := net.Pipe()
		defer app.Close()
		done := make(chan struct{})
		go func() { defer close(done); p.connect(pipeStream{far}) }()
		begun := time.Now()
		if _, err := app.Write(append([]byte{5, 1, 0, 5, 1, 0, 3, 9}, "late.test\x01\xbb"...)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := s.resolver.asking.Held(); n != 1 {
			t.Errorf("%d names are being asked for", n)
		}
		got := make([]byte, 12)
		if _, err := io.ReadFull(app, got[:2]); err != nil || time.Since(begun) != queryTimeout {
			t.Errorf("the offer is answered after %v: %v", time.Since(begun), err)
		}
		synctest.Wait()
		if n := s.resolver.asking.Held(); n != 0 {
			t.Errorf("%d places are still held", n)
		}
		if _, err := io.ReadFull(app, got[2:]); err != nil || time.Since(begun) != 6*time.Second || !bytes.Equal(got[:4], []byte{5, 0, 5, 5}) {
			t.Errorf("% x after %v: %v", got, time.Since(begun), err)
		}
		<-done
	})
}

// TestLateLookupsAreShared: a client whose names nobody answers for does not keep another one's
// slow name from being waited for.
func TestLateLookupsAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := answersAfter(t.Context(), 6*time.Second)
		all, each := lookups(1024)
		r.late.Cap(late(all), late(each))
		greedy, honest := new(client), new(client)
		for i := range all {
			go r.find(asks(t.Context(), &greedy.late), fmt.Sprintf("%d.greedy.test", i), dnsmessage.TypeA)
		}
		synctest.Wait()
		if k := r.find(asks(t.Context(), &honest.late), "slow.test", dnsmessage.TypeA); k.failed() {
			t.Errorf("a name that is answered after six seconds: %+v", k)
		}
		synctest.Wait()
		if n := r.late.Held(); n != 0 {
			t.Errorf("%d are still waited for", n)
		}
	})
}

// TestAddressesOfANameAreFew: of a name with thousands of addresses so many are looked at as serve.
func TestAddressesOfANameAreFew(t *testing.T) {
	m := dnsmessage.Message{Header: dnsmessage.Header{Response: true}, Questions: []dnsmessage.Question{{
		Name: dnsmessage.MustNewName("many.test."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET,
	}}}
	var all []string
	for i := range 3000 {
		all = append(all, netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}).String())
	}
	reply, err := addA(m, 60, all...).Pack()
	if err != nil {
		t.Fatal(err)
	}
	var k known
	if err := k.read(reply, dnsmessage.TypeA); err != nil || len(k.addrs) != maxAddrs || k.addrs[0].String() != all[0] {
		t.Errorf("%d addresses: %v", len(k.addrs), err)
	}
}
