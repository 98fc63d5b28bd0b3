package names

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/mpsocks/mpsocks/server/names/namestest"
)

// answersAfter is a Resolver whose name server takes its time and knows one IPv4 address of
// every name.
func answersAfter(life context.Context, late time.Duration) *Resolver {
	return with(life, Sources{Upstreams: upstreams(netip.MustParseAddrPort("192.0.2.53:53")), Ask: namestest.Late(late)})
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
		r.questions.late.Cap(1, 0)
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
		if n := r.questions.late.Held(); n != 0 {
			t.Errorf("%d are still waited for", n)
		}
	})
}

// TestLateLookupsAreShared: a client whose names nobody answers for does not keep another one's
// slow name from being waited for.
func TestLateLookupsAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := answersAfter(t.Context(), 6*time.Second)
		all, each := lookups(1024)
		r.questions.late.Cap(late(all), late(each))
		greedy, honest := new(Client), new(Client)
		for i := range all {
			go r.find(asks(t.Context(), greedy), fmt.Sprintf("%d.greedy.test", i), dnsmessage.TypeA)
		}
		synctest.Wait()
		if k := r.find(asks(t.Context(), honest), "slow.test", dnsmessage.TypeA); k.failed() {
			t.Errorf("a name that is answered after six seconds: %+v", k)
		}
		synctest.Wait()
		if n := r.questions.late.Held(); n != 0 {
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
	reply, err := namestest.AddA(m, 60, all...).Pack()
	if err != nil {
		t.Fatal(err)
	}
	var k known
	if err := k.read(reply, dnsmessage.TypeA); err != nil || len(k.addrs) != maxAddrs || k.addrs[0].String() != all[0] {
		t.Errorf("%d addresses: %v", len(k.addrs), err)
	}
}
