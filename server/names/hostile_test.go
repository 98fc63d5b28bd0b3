package names

import (
	"context"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/mpsocks/mpsocks/server/names/namestest"
)

// TestWhatIsRememberedStays: of a name whose IPv6 addresses come second, what one CONNECT makes of
// both is not written into the answer that others get.
func TestWhatIsRememberedStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := few(t, 4, 4, func(_ context.Context, _ netip.AddrPort, msg []byte, _ int) ([]byte, error) {
			m := namestest.Unpack(t, msg)
			m.Response = true
			if kindOf(msg) == dnsmessage.TypeA {
				return namestest.AddA(m, 60, "192.0.2.1").Pack()
			}
			time.Sleep(resolutionDelay / 2)
			return namestest.AddAAAA(m, 60, "2001:db8::1", "2001:db8::2", "2001:db8::3").Pack()
		})
		if got, _ := r.Lookup(t.Context(), new(Client), "both.test", func() {}); len(got.Addrs) != 4 {
			t.Errorf("%v, %v", got.Addrs, got.Err)
		}
		k := r.answers.recall(knownKey{"both.test.", dnsmessage.TypeAAAA})
		if rest := k.addrs[len(k.addrs):cap(k.addrs)]; slices.ContainsFunc(rest, netip.Addr.IsValid) {
			t.Errorf("behind the answer stands %v", rest)
		}
	})
}

// TestBytesOfNames: case is that of ASCII, and every other byte is asked for as it came (RFC 4343).
func TestBytesOfNames(t *testing.T) {
	var asked atomic.Value
	at := namestest.Server(t, func(_ string, m dnsmessage.Message) *dnsmessage.Message {
		asked.Store(m.Questions[0].Name.String())
		return namestest.AddA(m, 60, "192.0.2.1")
	})
	r := only(t.Context(), at)
	for name, want := range map[string]string{
		"WWW.Example.TEST.":   "www.example.test.",
		"Caf\xe9.test.":       "caf\xe9.test.", // no UTF-8
		"\u00c4.test.":        "\u00c4.test.",  // a capital letter, beyond ASCII
		"\u212aelvin.test.":   "\u212aelvin.test.",
		"_sip._Tcp.a\\.test.": "_sip._tcp.a\\.test.",
	} {
		m := namestest.Unpack(t, r.answer(t.Context(), namestest.Question(name, dnsmessage.TypeA)))
		if asked.Load() != want || len(m.Answers) != 1 || m.Questions[0].Name.String() != name {
			t.Errorf("%q was asked for as %q: %v", name, asked.Load(), m.GoString())
		}
	}
}

// TestHalfAnAnswer: a response that was cut off, where no connection brings the whole, is for when no
// other server has more, nobody else's, and no proof that a name has no address.
func TestHalfAnAnswer(t *testing.T) {
	half := namestest.Server(t, func(network string, m dnsmessage.Message) *dnsmessage.Message {
		if network == "tcp" {
			return nil
		}
		m.Truncated = true
		if m.Questions[0].Name.String() == "some.test." {
			return namestest.AddA(m, 60, "192.0.2.1")
		}
		return &m
	})
	whole := namestest.Server(t, func(_ string, m dnsmessage.Message) *dnsmessage.Message {
		return namestest.AddA(m, 60, "192.0.2.1", "192.0.2.2")
	})
	r := only(t.Context(), half, whole)
	for _, name := range []string{"some.test", "none.test"} {
		if k := r.find(t.Context(), name, dnsmessage.TypeA); k.failed() || len(k.addrs) != 2 {
			t.Errorf("%s with another server: %+v", name, k)
		}
	}
	r = only(t.Context(), half)
	if k := r.find(t.Context(), "none.test", dnsmessage.TypeA); !k.failed() {
		t.Errorf("nothing was taken for no address: %+v", k)
	}
	if k := r.find(t.Context(), "some.test", dnsmessage.TypeA); k.failed() || len(k.addrs) != 1 {
		t.Errorf("some addresses: %+v", k)
	}
	if len(r.answers.known) != 0 {
		t.Error("half an answer is remembered")
	}
	if m := namestest.Unpack(t, r.answer(t.Context(), namestest.Question("some.test.", dnsmessage.TypeA))); !m.Truncated || len(m.Answers) != 1 {
		t.Errorf("half an answer is passed on as a whole one: %v", m.GoString())
	}
}

// TestLameServer: who knows nothing of a name and asks nobody does not say that it has no address.
func TestLameServer(t *testing.T) {
	lame := namestest.Server(t, func(_ string, m dnsmessage.Message) *dnsmessage.Message {
		m.RecursionAvailable = false
		return &m
	})
	knows := namestest.Server(t, func(_ string, m dnsmessage.Message) *dnsmessage.Message {
		return namestest.AddA(m, 60, "192.0.2.1")
	})
	if k := only(t.Context(), lame, knows).find(t.Context(), "a.test", dnsmessage.TypeA); k.failed() || len(k.addrs) != 1 {
		t.Errorf("with another server: %+v", k)
	}
	if k := only(t.Context(), lame).find(t.Context(), "a.test", dnsmessage.TypeA); !k.failed() {
		t.Errorf("alone: %+v", k)
	}
}

// TestSilenceIsNotNoSuchName: where nobody answers for a name, that there is none with the suffixes of
// the search list says nothing of it.
func TestSilenceIsNotNoSuchName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := few(t, 1, 1, func(ctx context.Context, _ netip.AddrPort, msg []byte, _ int) ([]byte, error) {
			m := namestest.Unpack(t, msg)
			if m.Questions[0].Name.String() == "host.test." {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			m.Response, m.RCode = true, dnsmessage.RCodeNameError
			return m.Pack()
		})
		servers := r.from.Upstreams().Servers
		r.from.Upstreams = func() Upstreams { return Upstreams{Servers: servers, Search: []string{"lan"}, Ndots: 1} }
		r.questions.late.Take(&r.questions.own) // so that nobody waits for longer than five seconds
		if k := r.find(t.Context(), "host.test", dnsmessage.TypeA); k != nil {
			t.Errorf("%+v", k)
		}
		if k := r.find(t.Context(), "host.other", dnsmessage.TypeA); k == nil || k.code != dnsmessage.RCodeNameError {
			t.Errorf("a name that does not exist: %+v", k)
		}
	})
}

// TestBothFamiliesMayBeLate: where the process may open few files, too.
func TestBothFamiliesMayBeLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := few(t, 4, 2, func(_ context.Context, _ netip.AddrPort, msg []byte, _ int) ([]byte, error) {
			time.Sleep(queryTimeout + time.Second)
			m := namestest.Unpack(t, msg)
			m.Response = true
			if kindOf(msg) == dnsmessage.TypeA {
				return namestest.AddA(m, 60, "192.0.2.1").Pack()
			}
			time.Sleep(resolutionDelay / 2)
			return namestest.AddAAAA(m, 60, "2001:db8::1").Pack()
		})
		if got, _ := r.Lookup(t.Context(), new(Client), "late.test", func() {}); len(got.Addrs) != 2 {
			t.Errorf("%v, %v", got.Addrs, got.Err)
		}
		time.Sleep(time.Minute) // until the questions that were asked again have ended
	})
}

// TestTheOtherFamilyOfALateName: where the first addresses of a name come late, those of the other family
// are waited for behind them.
func TestTheOtherFamilyOfALateName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := few(t, 64, 64, func(_ context.Context, _ netip.AddrPort, msg []byte, _ int) ([]byte, error) {
			time.Sleep(queryTimeout + time.Second)
			m := namestest.Unpack(t, msg)
			m.Response = true
			if kindOf(msg) == dnsmessage.TypeAAAA {
				return namestest.AddAAAA(m, 60, "2001:db8::1").Pack()
			}
			time.Sleep(otherTime / 2)
			return namestest.AddA(m, 60, "192.0.2.1").Pack()
		})
		got, more := r.Lookup(t.Context(), new(Client), "late.test", func() {})
		if got.Err != nil || more == nil {
			t.Fatal(got.Err)
		}
		if four := <-more; len(four.Addrs) != 1 {
			t.Errorf("%v, %v", four.Addrs, four.Err)
		}
		time.Sleep(time.Minute) // until the questions that were asked again have ended
	})
}
