package interop

import (
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/integration/bench/halves"
	"github.com/mpsocks/mpsocks/integration/bench/socks"
)

// TestCapture runs a session with joins, datagrams, a stream, a killed subflow
// and a close, with --capture on both halves, and lets tshark say what it sees.
func TestCapture(t *testing.T) {
	tshark := need(t, "tshark")
	dir := t.TempDir()
	client, server := filepath.Join(dir, "client.pcapng"), filepath.Join(dir, "server.pcapng")
	captureScene(t, client, server)

	for _, file := range []string{client, server} {
		t.Run(filepath.Base(file), func(t *testing.T) {
			checkNames(t, tshark, file)
			checkFrames(t, tshark, file)
		})
	}
}

// read runs tshark on a file. Payloads are random bytes and ports random
// numbers: nothing is to be guessed from either, so all ports are plain data.
func read(t *testing.T, tshark, file string, args ...string) []string {
	t.Helper()
	args = append([]string{
		"-n", "-r", file, "-d", "tcp.port==1-65535,data", "-d", "udp.port==1-65535,data",
		"-o", "ip.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE",
	}, args...)
	return strings.Split(strings.TrimSuffix(string(output(t, time.Minute, tshark, args...)), "\n"), "\n")
}

// checkNames wants every option by tshark's own name for it.
func checkNames(t *testing.T, tshark, file string) {
	named := map[string]bool{}
	for _, line := range read(t, tshark, file, "-V", "-Y", "tcp.options.mptcp.subtype") {
		if _, name, ok := strings.Cut(line, "Multipath Transmission Control Protocol: "); ok {
			named[strings.TrimSpace(name)] = true
		}
	}
	for _, want := range []string{"Multipath Capable", "Join Connection", "Data Sequence Signal", "Add Address"} {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(named)), func(n string) bool { return sameName(n, want) }) {
			t.Errorf("tshark names no %s, only %v", want, slices.Sorted(maps.Keys(named)))
		}
	}
	// The session ends in order.
	if fins := read(t, tshark, file, "-Y", "tcp.options.mptcp.datafin.flag == 1"); fins[0] == "" {
		t.Error("tshark finds no DATA_FIN")
	}
}

// The fields that checkFrames asks for, in order.
var fields = []string{
	"frame.number", "frame.interface_id", "ip.proto", "ip.src", "_ws.malformed",
	"ip.checksum.status", "tcp.checksum.status", "udp.checksum.status", // 0 is bad, 1 is good
	"tcp.options.mptcp.subtype", "tcp.flags.syn", "tcp.flags.ack", "mptcp.stream",
	"mptcp.connection.echoed_key_mismatch", "mptcp.connection.missing_algorithm",
	"mptcp.connection.unsupported_algorithm", "mptcp.dss.infinite_mapping",
}

// checkFrames looks at every frame: nothing malformed, checksums good, tokens
// and keys accepted, inner packets UDP and TCP in both directions.
func checkFrames(t *testing.T, tshark, file string) {
	args := []string{"-T", "fields"}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	joins := 0
	inner := map[string]int{} // protocol and source -> packets
	for _, line := range read(t, tshark, file, args...) {
		f := map[string]string{}
		for i, v := range strings.Split(line, "\t") {
			f[fields[i]] = v
		}
		bad := func(why string) { t.Errorf("frame %s: %s", f["frame.number"], why) }
		if f["_ws.malformed"] != "" {
			bad("malformed")
		}
		for _, name := range fields[5:8] {
			if f[name] != "1" && f[name] != "" {
				bad(name + " is " + f[name])
			}
		}
		for _, name := range fields[12:] {
			if f[name] != "" {
				bad(name)
			}
		}
		if f["frame.interface_id"] == "1" {
			inner[f["ip.proto"]+" from "+f["ip.src"]]++
		} else if f["ip.proto"] != "6" {
			bad("an outer frame of protocol " + f["ip.proto"])
		}
		if f["tcp.options.mptcp.subtype"] == "1" && f["tcp.flags.syn"] == "1" && f["tcp.flags.ack"] == "0" {
			joins++
			// tshark derives the token from the key too, and finds the
			// connection of the first subflow by it.
			if f["mptcp.stream"] != "0" {
				bad("a join of connection " + f["mptcp.stream"])
			}
		}
	}
	if joins < 2 {
		t.Errorf("%d joins, want the second path's and the one after the kill", joins)
	}
	for kind, least := range map[string]int{
		"17 from 198.18.0.2": 200, "17 from 127.0.0.1": 200, "6 from 198.18.0.2": 10, "6 from 198.18.0.1": 10,
	} {
		if inner[kind] < least {
			t.Errorf("%d inner packets of protocol %s, want %d", inner[kind], kind, least)
		}
		delete(inner, kind)
	}
	if len(inner) > 0 {
		t.Errorf("inner packets that nobody sent: %v", inner)
	}
}

// sameName compares names of options without regard to case and hyphens, which
// versions of tshark write differently.
func sameName(a, b string) bool {
	fold := func(s string) string {
		return strings.ToLower(strings.NewReplacer(" ", "", "-", "", "_", "").Replace(s))
	}
	return fold(a) == fold(b)
}

// captureScene plays what the captures are to show.
func captureScene(t *testing.T, clientFile, serverFile string) {
	t.Helper()
	free, err := halves.FreePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	relay := newTCPRelay(t, free[0].String())
	p := &halves.Pair{Bin: mpsocks, Config: halves.Config{
		Dir: t.TempDir(), Socks: free[1:], Tunnel: free[0], Reach: []string{relay.address()}, Paths: halves.TwoPaths(), Allow: loopback,
		Server: fmt.Sprintf("advertise: [%q]\n", free[0]), // for ADD_ADDR
	}}
	if err := p.Write(mpsocks); err != nil {
		t.Fatal(err)
	}
	if p.Server, err = halves.Run(mpsocks, "server", "-c", p.ServerFile, "--capture", serverFile); err != nil {
		t.Fatal(err)
	}
	defer p.Server.Kill()
	if p.Client, err = halves.Run(mpsocks, "client", "-c", p.ClientFile, "--capture", clientFile); err != nil {
		t.Fatal(err)
	}
	defer p.Client.Kill()
	if err := p.Ready(15 * time.Second); err != nil {
		t.Fatalf("%v\nclient said: %s\nserver said: %s", err, p.Client.Output(), p.Server.Output())
	}

	datagrams(t, p, 100)
	stream(t, p)
	if !relay.cut() {
		t.Error("there was no subflow to kill")
	}
	for deadline := time.Now().Add(10 * time.Second); relay.accepted() < 3; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the killed subflow does not come back\nclient said: %s", p.Client.Output())
		}
	}
	time.Sleep(300 * time.Millisecond) // the join takes a few round trips
	datagrams(t, p, 100)
	if took, err := p.Client.Stop(); err != nil || took > 2*time.Second {
		t.Errorf("the client ended after %v: %v\n%s", took, err, p.Client.Output())
	}
	if took, err := p.Server.Stop(); err != nil || took > 2*time.Second {
		t.Errorf("the server ended after %v: %v\n%s", took, err, p.Server.Output())
	}
	for _, f := range []string{clientFile, serverFile} {
		if info, err := os.Stat(f); err != nil || info.Size() < 10000 {
			t.Fatalf("no capture worth the name: %v, %v", info, err)
		}
	}
}

// datagrams has n datagrams echoed, and all of them must come.
func datagrams(t *testing.T, p *halves.Pair, n int) {
	t.Helper()
	echo := udpEcho(t, "udp4", "127.0.0.1:0")
	d := socks.Dialer{Proxy: p.Proxy()}
	control, relay, err := d.Associate()
	if err != nil {
		t.Fatal(err)
	}
	defer control.Close()
	c, err := net.Dial("udp", relay.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	b := make([]byte, 2048)
	for i := range n {
		p, err := socks.AppendDatagram(nil, echo, make([]byte, 10*i))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(p); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(b); err != nil {
			t.Fatalf("datagram %d: %v", i, err)
		}
	}
}

// stream sends some data there and back.
func stream(t *testing.T, p *halves.Pair) {
	t.Helper()
	d := socks.Dialer{Proxy: p.Proxy()}
	c, err := d.Connect(tcpEcho(t, "tcp4", "127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	data, _ := noise(300000)
	if _, err := c.Write(data); err != nil {
		t.Fatal(err)
	}
	_ = c.CloseWrite()
	if got, err := io.ReadAll(c); err != nil || len(got) != len(data) {
		t.Fatalf("%d bytes came back, %v", len(got), err)
	}
}

// A tcpRelay stands between client and server, where a network would, so that
// a subflow can be killed.
type tcpRelay struct {
	listener net.Listener
	target   string
	wg       sync.WaitGroup

	mu    sync.Mutex
	conns []net.Conn // pairs: the client's, the server's
	count int
}

func newTCPRelay(t *testing.T, target string) *tcpRelay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &tcpRelay{listener: l, target: target}
	r.wg.Go(r.accept)
	t.Cleanup(func() {
		l.Close()
		r.mu.Lock()
		for _, c := range r.conns {
			c.Close()
		}
		r.mu.Unlock()
		r.wg.Wait()
	})
	return r
}

func (r *tcpRelay) address() string { return r.listener.Addr().String() }

// accept ends when the listener is closed; the copies it starts end with their
// connections.
func (r *tcpRelay) accept() {
	for {
		in, err := r.listener.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", r.target)
		if err != nil {
			in.Close()
			continue
		}
		r.mu.Lock()
		r.conns = append(r.conns, in, out)
		r.count++
		r.mu.Unlock()
		for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
			r.wg.Go(func() {
				_, _ = io.Copy(way[0], way[1]) // the end of either is the end of both
				way[0].Close()
				way[1].Close()
			})
		}
	}
}

// accepted is how many subflows there have been.
func (r *tcpRelay) accepted() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count
}

// cut resets the newest subflow.
func (r *tcpRelay) cut() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.conns) < 4 {
		return false
	}
	for _, c := range r.conns[len(r.conns)-2:] {
		_ = c.(*net.TCPConn).SetLinger(0)
		c.Close()
	}
	return true
}
