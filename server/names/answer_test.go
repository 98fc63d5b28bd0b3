package names

import (
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/mpsocks/mpsocks/server/names/namestest"
)

func TestResolverForwards(t *testing.T) {
	var asked atomic.Int32
	at := namestest.Server(t, func(network string, m dnsmessage.Message) *dnsmessage.Message {
		asked.Add(1)
		switch m.Questions[0].Name.String() {
		case "example.com.":
			return namestest.AddA(m, 321, "192.0.2.1", "192.0.2.2")
		case "long.example.com.":
			if network == "udp" {
				m.Truncated = true
				return &m
			}
			var many []string
			for range 200 {
				many = append(many, "192.0.2.9")
			}
			return namestest.AddA(m, 1, many...)
		case "flaky.example.com.":
			if asked.Load()%2 == 1 {
				m.RCode = dnsmessage.RCodeServerFailure
				return &m
			}
			return namestest.AddA(m, 5, "192.0.2.3")
		case "single.lan.example.":
			if m.Questions[0].Type == dnsmessage.TypeA {
				return namestest.AddA(m, 77, "192.0.2.7")
			}
			return &m
		}
		m.RCode = dnsmessage.RCodeNameError
		return &m
	})
	r := with(t.Context(), Sources{
		Hosts: func(_ context.Context, _, host string) ([]netip.Addr, error) {
			if host == "router.lan" {
				return []netip.Addr{netip.MustParseAddr("::ffff:192.0.2.77")}, nil
			}
			return nil, errors.New("none")
		},
		Upstreams: func() Upstreams {
			return Upstreams{Servers: []netip.AddrPort{at}, Search: []string{"none.example", "lan.example"}, Ndots: 1}
		},
	})
	for _, tt := range []struct {
		name    string
		kind    dnsmessage.Type
		rcode   dnsmessage.RCode
		answers int
		ttl     uint32
	}{
		{"example.com.", dnsmessage.TypeA, 0, 2, 321},
		{"EXAMPLE.com.", dnsmessage.TypeA, 0, 2, 321}, // the test's server minds case
		{"long.example.com.", dnsmessage.TypeA, 0, 200, 1},
		{"nowhere.example.com.", dnsmessage.TypeA, dnsmessage.RCodeNameError, 0, 0},
		{"nowhere.example.com.", dnsmessage.TypeMX, dnsmessage.RCodeNameError, 0, 0},
		{"router.lan.", dnsmessage.TypeA, 0, 1, hostsTTL},
		{"router.lan.", dnsmessage.TypeAAAA, 0, 0, 0}, // exists, without such an address
		{"single.", dnsmessage.TypeA, 0, 1, 77},       // completed by the search list
		{"single.", dnsmessage.TypeAAAA, 0, 0, 0},
		{"[2001:db8::5].", dnsmessage.TypeAAAA, 0, 1, hostsTTL},
		{"192.0.2.5.", dnsmessage.TypeA, 0, 1, hostsTTL},
		{".", dnsmessage.TypeNS, dnsmessage.RCodeNameError, 0, 0},
	} {
		reply := r.answer(t.Context(), namestest.Question(tt.name, tt.kind))
		m := namestest.Unpack(t, reply)
		if m.ID != 0x1234 || !m.Response || len(m.Questions) != 1 || m.Questions[0].Name.String() != tt.name {
			t.Errorf("%s: %v", tt.name, m.GoString())
		}
		if m.RCode != tt.rcode || len(m.Answers) != tt.answers || m.Truncated {
			t.Errorf("%s %v: %v, %d answers", tt.name, tt.kind, m.RCode, len(m.Answers))
		} else if len(m.Answers) > 0 && m.Answers[0].Header.TTL != tt.ttl {
			t.Errorf("%s: TTL %d", tt.name, m.Answers[0].Header.TTL)
		}
	}
	asked.Store(0)
	if m := namestest.Unpack(t, r.answer(t.Context(), namestest.Question("flaky.example.com.", dnsmessage.TypeA))); len(m.Answers) != 1 {
		t.Errorf("no second attempt: %v", m.GoString())
	}
}

func TestResolverFailures(t *testing.T) {
	r := only(t.Context())
	notify := namestest.Question("example.com.", dnsmessage.TypeA)
	notify[2] |= 4 << 3
	two := namestest.Question("example.com.", dnsmessage.TypeA)
	two[5] = 2
	cut := namestest.Question("example.com.", dnsmessage.TypeA)
	response := namestest.Question("example.com.", dnsmessage.TypeA)
	response[2] |= 0x80
	for _, tt := range []struct {
		name  string
		query []byte
		want  dnsmessage.RCode
	}{
		{"no upstream", namestest.Question("example.com.", dnsmessage.TypeA), dnsmessage.RCodeServerFailure},
		{"no upstream, MX", namestest.Question("example.com.", dnsmessage.TypeMX), dnsmessage.RCodeServerFailure},
		{"opcode", notify, dnsmessage.RCodeNotImplemented},
		{"two questions", two, dnsmessage.RCodeFormatError},
		{"cut off", cut[:len(cut)-3], dnsmessage.RCodeFormatError},
	} {
		reply := r.answer(t.Context(), tt.query)
		if m := namestest.Unpack(t, reply); m.RCode != tt.want || m.ID != 0x1234 || !m.Response {
			t.Errorf("%s: %v", tt.name, m.GoString())
		}
	}
	if r.answer(t.Context(), response) != nil {
		t.Error("a response was answered")
	}
	// A silent upstream and an ended context.
	r = only(t.Context(), silent(t))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	if m := namestest.Unpack(t, r.answer(ctx, namestest.Question("example.com.", dnsmessage.TypeA))); m.RCode != dnsmessage.RCodeServerFailure {
		t.Errorf("%v", m.GoString())
	}
	if d := time.Since(start); d > queryTimeout/2 {
		t.Errorf("took %v", d)
	}
}

func TestResolvConf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	c := &resolvConf{path: path}
	if got := c.read().Servers; got != nil {
		t.Errorf("%v without a file", got)
	}
	text := "# comment\nnameserver 192.0.2.1\nsearch lan\n nameserver\t2001:db8::1 \nnameserver bad\nnameserver fe80::1%lo\nnameserver 192.0.2.4\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c.checked = time.Time{}
	want := []string{"192.0.2.1:53", "[2001:db8::1]:53", "[fe80::1%lo]:53"}
	var got []string
	for _, a := range c.read().Servers {
		got = append(got, a.String())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func FuzzAnswer(f *testing.F) {
	r := with(context.Background(), Sources{
		Upstreams: upstreams(),
		Hosts: func(context.Context, string, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}, nil
		},
	})
	f.Add(namestest.Question("example.com.", dnsmessage.TypeA), []byte{})
	f.Add(namestest.Question("example.com.", dnsmessage.TypeAAAA), namestest.Question("example.com.", dnsmessage.TypeAAAA))
	f.Add(namestest.Question(".", dnsmessage.TypeNS), []byte{0, 0, 0x80, 3, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, query, reply []byte) {
		if len(query) < headerLen {
			return
		}
		if a := r.answer(t.Context(), query); a != nil {
			if m := namestest.Unpack(t, a); m.ID != binary.BigEndian.Uint16(query) || !m.Response {
				t.Fatalf("%v", m.GoString())
			}
		}
		var p dnsmessage.Parser
		if _, err := p.Start(query); err != nil {
			return
		}
		if q, err := p.Question(); err == nil {
			end := questionEnd(q)
			if end <= len(query) && responds(reply, query, end) && len(reply) < headerLen {
				t.Fatal("short response accepted")
			}
		}
	})
}
