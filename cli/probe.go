package cli

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/mpsocks/mpsocks/mux/errno"
	"github.com/mpsocks/mpsocks/status"
)

// tunnelEcho is the echo port of the server's host inside the tunnel. No other
// proxy has it.
const tunnelEcho = "198.18.0.1:7"

// newProbe is `mpsocks probe`: does a SOCKS5 proxy, any one, work, and how fast?
func newProbe() *cobra.Command {
	p := probe{}
	cmd := &cobra.Command{
		Use:   "probe --proxy HOST:PORT",
		Short: "Ask any SOCKS5 proxy whether UDP ASSOCIATE and CONNECT work, and how fast",
		Long: `Ask any SOCKS5 proxy whether CONNECT and UDP ASSOCIATE work, and how fast. The
exit code is 1 if one of them does not.

UDP goes to the echo port that an mpsocks server has inside the tunnel, so
nothing beyond the server is needed. For another proxy name an echo server, or
a DNS server (port 53), which is asked a question instead.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p.out = cmd.OutOrStdout()
			for _, a := range []struct{ flag, value, such string }{
				{"proxy", p.proxy.address, "127.0.0.1:1080"}, {"tcp", p.tcp, "example.com:443"}, {"udp", p.udp, "9.9.9.9:53"},
			} {
				if (a.value != "" || a.flag == "proxy") && !isHostPort(a.value) {
					return fmt.Errorf("--%s %q is not HOST:PORT, such as %s", a.flag, a.value, a.such)
				}
			}
			switch {
			case p.count < 1:
				return errors.New("--count has to be 1 or more")
			case p.timeout <= 0:
				return errors.New("--timeout has to be more than nothing, such as 8s")
			case p.tcp == "" && p.udp == "":
				return errors.New("there is nothing to probe: give --tcp or --udp")
			}
			return p.run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringVar(&p.proxy.address, "proxy", "127.0.0.1:1080", "the proxy, HOST:PORT")
	f.StringVar(&p.proxy.user, "user", "", "name to log in with")
	f.StringVar(&p.proxy.password, "password", "", "password to log in with")
	f.StringVar(&p.tcp, "tcp", "example.com:443", `where to CONNECT to, HOST:PORT; "" leaves it out`)
	f.StringVar(&p.udp, "udp", tunnelEcho, `UDP echo server, or DNS server on port 53, HOST:PORT; "" leaves it out`)
	f.IntVar(&p.count, "count", 20, "how many datagrams and how many connections")
	// A client waits five seconds for a path, and then says what is wrong.
	f.DurationVar(&p.timeout, "timeout", 8*time.Second, "how long to wait for each answer")
	return cmd
}

// probe is one run against one proxy.
type probe struct {
	proxy    socksProxy
	tcp, udp string
	count    int
	timeout  time.Duration
	out      io.Writer
}

// run does both halves, also when the first one fails.
func (p *probe) run(ctx context.Context) error {
	var failed error
	if p.tcp != "" {
		failed = p.report("CONNECT "+p.tcp, p.connects(ctx))
	}
	if p.udp != "" {
		failed = cmp.Or(p.report("UDP "+p.udp, p.echoes(ctx)), failed)
	}
	switch {
	case failed == nil:
		return nil
	case errors.Is(failed, errno.Refused):
		fmt.Fprintf(p.out, "nothing listens at %s: start the client there (`mpsocks client -c client.yaml`, or its service), or give --proxy what its `listen` has\n", p.proxy.address)
	default:
		p.ask(ctx)
	}
	return errSilent
}

// report writes an error, and returns it.
func (p *probe) report(what string, err error) error {
	if err != nil {
		fmt.Fprintf(p.out, "%s: failed: %s\n", what, status.Plain(err.Error()))
	}
	return err
}

// connects opens connections one after the other and times them, from the
// first packet to the proxy to its reply.
func (p *probe) connects(ctx context.Context) error {
	var times []time.Duration
	for range p.count {
		start := time.Now()
		if err := p.connectOnce(ctx); err != nil {
			if len(times) == 0 {
				return err
			}
			return fmt.Errorf("after %d that worked: %w", len(times), err)
		}
		times = append(times, time.Since(start))
	}
	fmt.Fprintf(p.out, "CONNECT %s: works, %d of %d; set-up %s\n", p.tcp, len(times), p.count, spread(times))
	return nil
}

func (p *probe) connectOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	conn, err := p.proxy.connect(ctx, p.tcp)
	if err != nil {
		return err
	}
	return conn.Close()
}

// echoes sends datagrams one after the other through one association. Loss is
// UDP's right; only when nothing comes back it is a failure.
func (p *probe) echoes(ctx context.Context) error {
	opening, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	a, err := p.proxy.associate(opening, p.udp)
	if err != nil {
		return fmt.Errorf("UDP ASSOCIATE: %w", err)
	}
	defer a.Close()
	defer context.AfterFunc(ctx, a.Close)() // a signal ends the waiting

	var times []time.Duration
	var last error
	for i := range p.count {
		payload, match := question(p.udp, i)
		rtt, err := a.exchange(payload, p.timeout, match)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			times = append(times, rtt)
		case i == 2 && len(times) == 0:
			return p.silence(a, err) // three in a row: no need to wait for twenty
		default:
			last = err
		}
	}
	if len(times) == 0 {
		return p.silence(a, last)
	}
	fmt.Fprintf(p.out, "UDP %s: works, %d of %d came back by the relay %s; round trip %s\n",
		p.udp, len(times), p.count, a.relay, spread(times))
	return nil
}

// ask says what the client of this machine knows, if the proxy that failed is it.
func (p *probe) ask(ctx context.Context) {
	at := locator{}
	all, err := at.find(status.Client)
	if err != nil {
		return
	}
	_, states, err := answering(ctx, all)
	if err != nil {
		return
	}
	for _, s := range states {
		if !slices.Contains(s.Listen, p.proxy.address) || s.Session == nil {
			continue
		}
		fmt.Fprintf(p.out, "the mpsocks client there says:\n")
		if !s.Session.Up {
			fmt.Fprintf(p.out, "  no session with the server\n")
		}
		for i := range s.Session.Paths {
			path := &s.Session.Paths[i]
			fmt.Fprintf(p.out, "  path %s: %s\n", status.Plain(path.Name), status.Plain(path.Words(time.Now())))
		}
	}
}

// elsewhere is a hint that the relay is not where the proxy is.
func elsewhere(a *association) string {
	peer, ok := a.control.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return ""
	}
	at, _ := netip.AddrFromSlice(peer.IP)
	if at = at.Unmap(); at == a.relay.Addr() {
		return ""
	}
	return fmt.Sprintf("; the proxy was reached at %s and names a relay at %s: can that be reached from here? (udp.public_address of an mpsocks client says what to name)", at, a.relay.Addr())
}

// silence explains that nothing came back.
func (p *probe) silence(a *association, err error) error {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("UDP ASSOCIATE works, but the relay %s cannot be reached: %w%s", a.relay, err, elsewhere(a))
	}
	hint := ""
	if p.udp == tunnelEcho {
		hint = " (only an mpsocks server echoes there: for another proxy give --udp HOST:PORT, an echo or a DNS server)"
	}
	return fmt.Errorf("UDP ASSOCIATE works, but nothing came back by the relay %s within %v%s%s", a.relay, p.timeout, hint, elsewhere(a))
}

// question is what the target answers, and how to know the answer.
func question(target string, i int) (payload []byte, match func([]byte) bool) {
	payload = make([]byte, 64) // a game's datagram has about that size
	rand.Read(payload)
	binary.BigEndian.PutUint32(payload, uint32(i))
	if _, port, _ := net.SplitHostPort(target); port != "53" {
		return payload, func(b []byte) bool { return bytes.Equal(b, payload) }
	}
	// RFC 1035 section 4.1: a question for the name servers of the root,
	// recursion desired, under a random ID. A reply has the ID and QR set.
	q := append(slices.Clone(payload[32:34]), 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1)
	return q, func(b []byte) bool { return len(b) >= 12 && b[0] == q[0] && b[1] == q[1] && b[2]&0x80 != 0 }
}

// spread sums durations up as min, median and p99, in milliseconds.
func spread(d []time.Duration) string {
	slices.Sort(d)
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	return fmt.Sprintf("min %.2f ms, median %.2f ms, p99 %.2f ms", ms(d[0]), ms(d[len(d)/2]), ms(d[(len(d)*99-1)/100]))
}
