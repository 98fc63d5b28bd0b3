package names

import (
	"bytes"
	"context"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/net/dns/dnsmessage"
)

// TestNoNameServer: that no name server answers is said once, when that has gone on for a while,
// and that one does again; a name that nobody answers for, beside others, is nothing to say.
func TestNoNameServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		var dead atomic.Bool
		answer := func(ctx context.Context, _ netip.AddrPort, msg []byte, _ int) ([]byte, error) {
			if dead.Load() || bytes.Contains(msg, []byte("slow")) {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			reply := bytes.Clone(msg)
			reply[2], reply[3] = reply[2]|0x80, reply[3]|0x80
			return reply, nil
		}
		r := with(t.Context(), Sources{Upstreams: upstreams(netip.MustParseAddrPort("192.0.2.53:53")), Ask: answer})
		r.questions.silence.log = zerolog.New(&log)
		ask := func(name string) {
			ctx, cancel := context.WithTimeout(t.Context(), queryTimeout)
			defer cancel()
			r.find(ctx, name, dnsmessage.TypeA)
			time.Sleep(time.Minute) // until what goes on without who has asked has ended
		}
		says := func(when, want string) {
			t.Helper()
			if got := log.String(); (want == "") != (got == "") || !strings.Contains(got, want) || strings.Count(got, "\n") > 1 {
				t.Errorf("%s: %s", when, got)
			}
			log.Reset()
		}
		dead.Store(false)
		ask("first.test")
		says("while all is well", "")
		dead.Store(true)
		for _, name := range []string{"a.test", "b.test", "c.test"} {
			ask(name)
		}
		says("at first", "")
		ask("d.test")
		says("when nobody answers", "no name server answers")
		ask("e.test")
		says("when it goes on", "")
		dead.Store(false)
		ask("f.test")
		says("at the first answer", "answers again")
		for range 3 {
			go ask("slow.test")
			time.Sleep(time.Second)
			ask("g.test")
		}
		says("beside a name that nobody answers for", "")
		time.Sleep(time.Hour)
	})
}
