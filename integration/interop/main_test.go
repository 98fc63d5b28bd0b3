package interop

import (
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mpsocks/mpsocks/integration/bench/halves"
	"github.com/mpsocks/mpsocks/integration/bench/socks"
)

var (
	// mpsocks is the binary under test, built once.
	mpsocks string
	// pair is what all tests but that of the capture go through: two subflows
	// on two loopback paths.
	pair *halves.Pair
)

// made counts what has a name of its own on this machine: tests that mostly wait run side by
// side.
var made atomic.Int64

// unique is a name that nothing else has.
func unique() string { return fmt.Sprintf("%d-%d", os.Getpid(), made.Add(1)) }

// python is Debian's own interpreter, which sees python3-socks.
const python = "/usr/bin/python3"

func TestMain(m *testing.M) {
	flag.Parse()
	if testing.Short() || runtime.GOOS != "linux" {
		fmt.Println("interop: skipped: needs Linux and time (no -short)")
		os.Exit(0)
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "mpsocks-interop-")
	if err == nil {
		defer os.RemoveAll(dir)
		mpsocks, err = halves.Build(context.Background(), dir)
	}
	if err == nil {
		pair, err = halves.Start(mpsocks, halves.Config{Dir: dir, Paths: halves.TwoPaths(), Allow: loopback})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "interop:", err)
		return 1
	}
	code := m.Run()
	pair.Kill()
	if code != 0 {
		fmt.Fprintf(os.Stderr, "client said:\n%s\nserver said:\n%s\n", pair.Client.Output(), pair.Server.Output())
		return code
	}
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, "interop:", err)
		return 1
	}
	return 0
}

// loopback is what the server may reach besides the internet.
var loopback = []string{"127.0.0.0/8", "::1/128"}

// need skips a test whose program is missing.
func need(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Skipf("%s is not installed: make interop installs it from Debian where it may", program)
	}
	return path
}

// output runs a program to its end and returns what it wrote; a failure fails
// the test with what it complained of.
func output(t *testing.T, limit time.Duration, program string, args ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	// Nothing of this user's settings shall decide how it reaches the network.
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "LANG=C.UTF-8"}
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if err != nil {
		var said []byte
		if exit, ok := err.(*exec.ExitError); ok {
			said = exit.Stderr
		}
		t.Fatalf("%s %q: %v\n%s", program, args, err, said)
	}
	return out
}

// tcpMirror is a mirror until the test ends.
func tcpMirror(t *testing.T, address string) string {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	go mirror(l)
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

// mirror answers what comes on a connection with itself, as it comes, and accepts until the
// listener is closed.
func mirror(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() { // ends with its connection
			defer c.Close()
			_, _ = io.Copy(c, c)
		}()
	}
}

// echoDatagrams answers each with itself until the socket is closed.
func echoDatagrams(c net.PacketConn) {
	b := make([]byte, 65536)
	for {
		n, from, err := c.ReadFrom(b)
		if err != nil {
			return
		}
		_, _ = c.WriteTo(b[:n], from) // a lost answer fails the test on the other side
	}
}

// udpEcho answers every datagram with itself until the test ends.
func udpEcho(t *testing.T, network, address string) string {
	t.Helper()
	c, err := net.ListenPacket(network, address)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { // ends when the socket is closed
		defer close(done)
		echoDatagrams(c)
	}()
	t.Cleanup(func() {
		c.Close()
		<-done
	})
	return c.LocalAddr().String()
}

// tcpEcho answers with everything it got, once the other side has ended its
// half: that takes a half-close.
func tcpEcho(t *testing.T, network, address string) string {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { // ends when the listener is closed
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.SetDeadline(time.Now().Add(20 * time.Second))
			b, err := io.ReadAll(c)
			if err == nil {
				_, _ = c.Write(b)
			}
			c.Close()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return l.Addr().String()
}

// noise gives n bytes that repeat nowhere, the same for the same n, and their
// sum.
func noise(n int) ([]byte, [32]byte) {
	b := make([]byte, n)
	x := uint64(n) | 1
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x)
	}
	return b, sha256.Sum256(b)
}

// An association is a UDP socket behind SOCKS5 that talks to one destination.
// It is a net.PacketConn too: quic-go and Go's resolver want one.
type association struct {
	*net.UDPConn
	control *net.TCPConn
	to      string // as SOCKS is told: host:port
	head    []byte
	in      []byte
}

// dialAssociation opens an association; it ends with Close.
func dialAssociation(to string) (*association, error) {
	d := socks.Dialer{Proxy: pair.Proxy()}
	control, relay, err := d.Associate()
	if err != nil {
		return nil, err
	}
	head, err := socks.AppendDatagram(nil, to, nil)
	if err != nil {
		control.Close()
		return nil, err
	}
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(relay))
	if err != nil {
		control.Close()
		return nil, err
	}
	return &association{UDPConn: c, control: control, to: to, head: head, in: make([]byte, 65536)}, nil
}

func (a *association) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, err := a.UDPConn.Read(a.in)
		if err != nil {
			return 0, nil, err
		}
		from, payload, err := socks.ParseDatagram(a.in[:n])
		if err == nil {
			return copy(b, payload), net.UDPAddrFromAddrPort(from), nil
		}
	}
}

func (a *association) WriteTo(b []byte, _ net.Addr) (int, error) { return a.Write(b) }

func (a *association) Read(b []byte) (int, error) {
	n, _, err := a.ReadFrom(b)
	return n, err
}

func (a *association) Write(b []byte) (int, error) {
	p := make([]byte, 0, len(a.head)+len(b))
	if _, err := a.UDPConn.Write(append(append(p, a.head...), b...)); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (a *association) Close() error {
	a.control.Close()
	return a.UDPConn.Close()
}
