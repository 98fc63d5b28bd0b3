package interop

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/integration/bench/halves"
	"github.com/mpsocks/mpsocks/integration/bench/socks"
)

// What the name server under test knows.
const (
	knownName = "host.mpsocks.test"
	knownText = "carried by several paths"
)

var knownAddr = netip.MustParseAddr("192.0.2.77")

// dnsmasq runs a name server on loopback until the test ends, and returns its
// port.
func dnsmasq(t *testing.T) uint16 {
	t.Helper()
	bin := need(t, "dnsmasq")
	free, err := halves.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	p, err := halves.Run(bin, "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--no-daemon",
		"--listen-address=127.0.0.1", "--bind-interfaces", "--pid-file=", fmt.Sprintf("--port=%d", free[0].Port()),
		fmt.Sprintf("--address=/%s/%s", knownName, knownAddr), fmt.Sprintf("--txt-record=%s,%s", knownName, knownText))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	// It is up when it answers over TCP, directly.
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", free[0].String())
		if err == nil {
			c.Close()
			return free[0].Port()
		}
		if time.Now().After(deadline) {
			t.Fatalf("dnsmasq does not start: %v\n%s", err, p.Output())
		}
	}
}

// TestResolver asks dnsmasq with Go's own resolver, over UDP by the server's
// address and by its name, and over TCP.
func TestResolver(t *testing.T) {
	port := dnsmasq(t)
	for _, c := range []struct{ network, server string }{
		{"udp", fmt.Sprintf("127.0.0.1:%d", port)},
		{"udp", fmt.Sprintf("localhost:%d", port)},
		{"tcp", fmt.Sprintf("127.0.0.1:%d", port)},
	} {
		t.Run(c.network+" "+strings.Split(c.server, ":")[0], func(t *testing.T) {
			r := net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
				if c.network == "tcp" {
					d := socks.Dialer{Proxy: pair.Proxy()}
					return d.Connect(c.server)
				}
				return dialAssociation(c.server)
			}}
			ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
			defer cancel()
			addrs, err := r.LookupNetIP(ctx, "ip4", knownName)
			if err != nil || !slices.Equal(addrs, []netip.Addr{knownAddr}) {
				t.Errorf("addresses: %v, %v", addrs, err)
			}
			texts, err := r.LookupTXT(ctx, knownName)
			if err != nil || !slices.Equal(texts, []string{knownText}) {
				t.Errorf("text: %q, %v", texts, err)
			}
		})
	}
}

// TestDig asks through a fixed forward, as dig knows no SOCKS, by address and
// by name.
func TestDig(t *testing.T) {
	dig := need(t, "dig")
	port := dnsmasq(t)
	free, err := halves.FreePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	forwards := fmt.Sprintf("forwards:\n  - {listen: %q, to: \"127.0.0.1:%d\"}\n  - {listen: %q, to: \"localhost:%d\"}\n", free[0], port, free[1], port)
	p, err := halves.Start(mpsocks, halves.Config{Dir: t.TempDir(), Paths: halves.TwoPaths(), Allow: loopback, Client: forwards})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	for i, name := range []string{"by address", "by name"} {
		got := output(t, 20*time.Second, dig, "@127.0.0.1", "-p", fmt.Sprint(free[i].Port()), "+notcp", "+short", "+tries=3", "+time=3", knownName, "A")
		if strings.TrimSpace(string(got)) != knownAddr.String() {
			t.Errorf("%s: dig says %q", name, got)
		}
	}
}
