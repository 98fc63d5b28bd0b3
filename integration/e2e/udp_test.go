package e2e

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/integration/bench/halves"
)

// patience is how long a test waits for a datagram that must come.
const patience = 10 * time.Second

// dual is a pair with a SOCKS listener of each family.
func dual(t *testing.T) *halves.Pair {
	t.Helper()
	free := ports(t, 2)
	six := netip.AddrPortFrom(netip.IPv6Loopback(), free[1].Port())
	return begin(t, halves.Config{Socks: []netip.AddrPort{free[0], six}})
}

// TestUDPEcho sends every size there is by every kind of destination, through a
// relay of each family, and wants the same bytes back from the true sender.
func TestUDPEcho(t *testing.T) {
	p := dual(t)
	four := udpEcho(t, ports(t, 1)[0].String())
	six := udpEcho(t, fmt.Sprintf("[::1]:%d", four.Port()))
	sizes := []int{0, 1, 2, 7, 63, 64, 512, 1172, 1200, 1452, 1472, 1473, 1500, 4096, 9000, 16384, 32768, 65000}
	// The longest that fit: a UDP datagram is 65,507 bytes on IPv4 and 65,527 on
	// IPv6, at the relay with the SOCKS header and on the far side without.
	// Between 65,479 and 65,480 bytes IPv6 begins to take two packets in the
	// tunnel.
	for _, tc := range []struct {
		name   string
		relay  netip.AddrPort
		dst    string
		source []netip.AddrPort
		most   int
	}{
		{"v4 by v4", p.Socks[0], four.String(), []netip.AddrPort{four}, 65507 - 10},
		{"v4 by v6", p.Socks[1], four.String(), []netip.AddrPort{four}, 65507},
		{"v6 by v4", p.Socks[0], six.String(), []netip.AddrPort{six}, 65507 - 22},
		{"v6 by v6", p.Socks[1], six.String(), []netip.AddrPort{six}, 65527 - 22},
		{"domain by v4", p.Socks[0], fmt.Sprintf("localhost:%d", four.Port()), []netip.AddrPort{four, six}, 65507 - 22},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := associate(t, tc.relay)
			for _, size := range append(sizes, 65479, 65480, tc.most) {
				payload := make([]byte, size)
				for i := range payload {
					payload[i] = byte(rand.Uint32())
				}
				f.send(t, tc.dst, payload)
				source, got, ok := f.receive(t, patience)
				if !ok {
					t.Fatalf("%d bytes to %s did not come back", size, tc.dst)
				}
				if !bytes.Equal(got, payload) {
					t.Errorf("%d bytes to %s came back as %d other bytes", size, tc.dst, len(got))
				}
				if !strings.Contains(fmt.Sprint(tc.source), source.String()) {
					t.Errorf("%d bytes to %s came back from %s, want one of %v", size, tc.dst, source, tc.source)
				}
			}
		})
	}
}

// TestUDPManyDestinations has one association talk to several hosts at once:
// each answer carries its own sender.
func TestUDPManyDestinations(t *testing.T) {
	p := begin(t, halves.Config{})
	f := associate(t, p.Socks[0])
	want := map[netip.AddrPort]string{}
	for i := range 8 {
		echo := udpEcho(t, fmt.Sprintf("127.0.0.%d:0", i+1))
		want[echo] = fmt.Sprintf("to %d", i)
		f.send(t, echo.String(), []byte(want[echo]))
	}
	for range len(want) {
		source, got, ok := f.receive(t, patience)
		if !ok {
			t.Fatalf("no answer from %v", want)
		}
		if want[source] != string(got) {
			t.Errorf("%q came from %s, want %q", got, source, want[source])
		}
		delete(want, source)
	}
}

// TestUDPDenied sends to places that the server must not reach; the
// association goes on.
func TestUDPDenied(t *testing.T) {
	p := begin(t, halves.Config{Allow: []string{"127.0.0.0/8"}})
	echo := udpEcho(t, "127.0.0.1:0")
	six := udpEcho(t, "[::1]:0") // not allowed here
	f := associate(t, p.Socks[0])
	for _, dst := range []string{six.String(), "10.1.2.3:9", "169.254.169.254:80", "[fe80::1]:9", "224.0.0.1:9", "no-such-host.invalid:9"} {
		f.send(t, dst, []byte("denied"))
	}
	f.send(t, fmt.Sprintf("[::ffff:127.0.0.1]:%d", echo.Port()), nil) // mapped: judged as IPv4, and allowed or dropped
	f.send(t, echo.String(), []byte("allowed"))
	for {
		source, got, ok := f.receive(t, patience)
		if !ok {
			t.Fatal("the association no longer works")
		}
		if source.Addr().Is6() && !source.Addr().Is4In6() {
			t.Errorf("%s answered %q and is not allowed", source, got)
		}
		if string(got) == "allowed" {
			return
		}
	}
}

// TestAssociationEnds closes the control connection: the relay's port must be
// gone soon.
func TestAssociationEnds(t *testing.T) {
	p := begin(t, halves.Config{})
	echo := udpEcho(t, "127.0.0.1:0")
	f := associate(t, p.Socks[0])
	f.send(t, echo.String(), []byte("once"))
	if _, _, ok := f.receive(t, patience); !ok {
		t.Fatal("no echo")
	}
	if err := f.control.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "the relay port is closed", func() bool {
		// A datagram to a closed port is answered by ICMP, which the next
		// call on a connected socket reports.
		_, err := f.conn.Write([]byte{0, 0, 0, 1, 127, 0, 0, 1, 0, 9})
		return err != nil
	})
}

// TestShortAssociations uses up the server's mappings with associations that
// ask once and end, as those for single DNS queries do: the next ones must work
// within a moment, and not when the mappings have become idle.
func TestShortAssociations(t *testing.T) {
	p := begin(t, halves.Config{Server: "limits:\n  mappings_per_client: 4\n"})
	echo := udpEcho(t, "127.0.0.1:0")
	for i := range 12 {
		f := associate(t, p.Socks[0])
		eventually(t, 20*time.Second, fmt.Sprintf("association %d works", i), func() bool {
			if f.ended() { // it found no room for long, on a busy machine: a program asks again
				f.close()
				f = associate(t, p.Socks[0])
			}
			f.send(t, echo.String(), []byte("once"))
			_, _, ok := f.receive(t, 100*time.Millisecond)
			return ok
		})
		f.close()
	}
}

// TestUDPLongest sends the longest datagrams of IPv6 through a forward: there no
// SOCKS header takes its share.
func TestUDPLongest(t *testing.T) {
	echo := udpEcho(t, "[::1]:0")
	local := netip.AddrPortFrom(netip.IPv6Loopback(), ports(t, 1)[0].Port())
	begin(t, halves.Config{Client: fmt.Sprintf("forwards:\n  - {listen: %q, to: %q}\n", local, echo)})
	conn := dialUDP(t, local)
	buffers(t, conn)
	got := make([]byte, 1<<16)
	for _, size := range []int{65479, 65480, 65507, 65519, 65520, 65527} {
		want := bytes.Repeat([]byte{byte(rand.Uint32()), byte(size)}, size/2+1)[:size]
		if _, err := conn.Write(want); err != nil {
			t.Fatal(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		n, err := conn.Read(got)
		if err != nil || !bytes.Equal(got[:n], want) {
			t.Errorf("%d bytes came back as %d: %v", size, n, err)
		}
	}
}

// TestForward sends through a fixed forward, without SOCKS.
func TestForward(t *testing.T) {
	echo := udpEcho(t, "127.0.0.1:0")
	local := ports(t, 1)[0]
	begin(t, halves.Config{Client: fmt.Sprintf("forwards:\n  - {listen: %q, to: %q}\n", local, echo)})
	for i := range 3 {
		conn := dialUDP(t, local)
		want := fmt.Sprintf("forwarded %d", i)
		if _, err := conn.Write([]byte(want)); err != nil {
			t.Fatal(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		b := make([]byte, 2048)
		n, err := conn.Read(b)
		if err != nil || string(b[:n]) != want {
			t.Fatalf("got %q, %v, want %q", b[:n], err, want)
		}
	}
}
