package dialer

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// A name server that does not answer for one family, or not at all, holds nobody up who
// could have the other family's answer, or another server's.
func TestOneFamilyIsSlow(t *testing.T) {
	four, six := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	type answer struct {
		after time.Duration
		addrs []netip.Addr
		err   error
	}
	none := errors.New("no answer")
	const ms = time.Millisecond
	for name, c := range map[string]struct {
		whole, v4, v6 answer
		patient       answer // of the IPv4 lookup that is patient
		want          []netip.Addr
		err           error
		within        time.Duration
		asked         int
	}{
		"well":             {whole: answer{20 * ms, []netip.Addr{six, four}, nil}, want: []netip.Addr{six, four}, within: 20 * ms, asked: 1},
		"no AAAA":          {whole: answer{10 * time.Second, []netip.Addr{four}, nil}, v4: answer{20 * ms, []netip.Addr{four}, nil}, v6: answer{8 * time.Second, nil, none}, want: []netip.Addr{four}, within: 370 * ms, asked: 5},
		"no A":             {whole: answer{10 * time.Second, []netip.Addr{six}, nil}, v4: answer{8 * time.Second, nil, none}, v6: answer{20 * ms, []netip.Addr{six}, nil}, want: []netip.Addr{six}, within: 370 * ms, asked: 5},
		"both, by another": {whole: answer{5 * time.Second, []netip.Addr{six, four}, nil}, v4: answer{1020 * ms, []netip.Addr{four}, nil}, v6: answer{1030 * ms, []netip.Addr{six}, nil}, want: []netip.Addr{four, six}, within: 1370 * ms, asked: 5},
		"slow":             {whole: answer{900 * ms, []netip.Addr{six, four}, nil}, v4: answer{8 * time.Second, nil, none}, v6: answer{8 * time.Second, nil, none}, want: []netip.Addr{six, four}, within: 900 * ms, asked: 5},
		"one has none":     {whole: answer{900 * ms, []netip.Addr{six}, nil}, v4: answer{20 * ms, nil, none}, v6: answer{8 * time.Second, nil, none}, want: []netip.Addr{six}, within: 900 * ms, asked: 5},
		"silence":          {whole: answer{10 * time.Second, nil, none}, v4: answer{4 * time.Second, nil, none}, v6: answer{4 * time.Second, nil, none}, err: none, within: 10 * time.Second, asked: 5},
		"no such name":     {whole: answer{20 * ms, nil, none}, err: none, within: 20 * ms, asked: 1},
		"slow as a snail":  {whole: answer{10 * time.Second, nil, none}, v4: answer{2 * time.Second, nil, none}, v6: answer{2 * time.Second, nil, none}, patient: answer{6 * time.Second, []netip.Addr{four}, nil}, want: []netip.Addr{four}, within: 6350 * ms, asked: 5},
		"it fails late":    {whole: answer{400 * ms, nil, none}, v4: answer{500 * ms, []netip.Addr{four}, nil}, v6: answer{8 * time.Second, nil, none}, want: []netip.Addr{four}, within: 850 * ms, asked: 5},
	} {
		synctest.Test(t, func(t *testing.T) {
			begin, asked := time.Now(), make(chan string, 5)
			got, err := hedged(t.Context(), func(ctx context.Context, network string, each time.Duration) ([]netip.Addr, error) {
				asked <- network
				a := map[string]answer{"ip": c.whole, "ip4": c.v4, "ip6": c.v6}[network]
				if each == lookupPatience {
					if a = c.patient; network == "ip6" || a.after == 0 {
						a = answer{lookupPatience, nil, none}
					}
				}
				select {
				case <-time.After(a.after):
					return a.addrs, a.err
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			})
			if took := time.Since(begin); !slices.Equal(got, c.want) || !errors.Is(err, c.err) || took > c.within || len(asked) != c.asked {
				t.Errorf("%s: %v, %v after %v, asked %d", name, got, err, took, len(asked))
			}
		})
	}
}

// A name server has its turn, whatever the resolver would give it.
func TestNameServerHasItsTurn(t *testing.T) {
	silent, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	u, err := net.DialUDP("udp4", nil, silent.LocalAddr().(*net.UDPAddr))
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	var c net.Conn = timedConn{u, 10 * time.Millisecond}
	if _, datagrams := c.(net.PacketConn); !datagrams {
		t.Error("the resolver takes it for a stream")
	}
	c.SetDeadline(time.Now().Add(time.Hour))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
}
