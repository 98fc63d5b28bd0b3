package e2e

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/integration/bench/halves"
	"github.com/mpsocks/mpsocks/integration/bench/socks"
)

// mistakes are what a person may do to a file; each makes it invalid.
var mistakes = []func(text string) string{
	func(s string) string { return s + "modus: auto\n" },
	func(s string) string { return s[:len(s)/2] },
	func(s string) string { return strings.Replace(s, "private_key:", "private_key: x", 1) },
	func(s string) string { return replaceLine(s, "listen:", "listen: [\"somewhere\"]") },
	func(s string) string { return s + "session_timeout: 90\n" },
	func(string) string { return "" },
}

// A roundTripper is one association or one CONNECT in use all the time.
type roundTripper struct {
	name  string
	sent  atomic.Int64
	lost  atomic.Int64
	ended atomic.Pointer[error]
}

// connected echoes over a CONNECT until stop is closed; any error ends it.
func (r *roundTripper) connected(c *net.TCPConn, stop <-chan struct{}) {
	defer c.Close()
	line, got := []byte("0123456789abcdef"), make([]byte, 16)
	for {
		select {
		case <-stop:
			return
		case <-time.After(5 * time.Millisecond):
		}
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		r.sent.Add(1)
		_, err := c.Write(line)
		if err == nil {
			_, err = io.ReadFull(c, got)
		}
		if err == nil && !bytes.Equal(line, got) {
			err = fmt.Errorf("the echo is %q", got)
		}
		if err != nil {
			r.ended.Store(&err)
			return
		}
	}
}

// associated echoes over an association, one datagram at a time.
func (r *roundTripper) associated(t *testing.T, f *flow, echo string, stop <-chan struct{}) {
	defer f.close()
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		case <-time.After(5 * time.Millisecond):
		}
		payload := []byte(strconv.Itoa(n))
		r.sent.Add(1)
		f.send(t, echo, payload)
		if _, got, ok := f.receive(t, patience); !ok || !bytes.Equal(got, payload) {
			r.lost.Add(1)
		}
	}
}

// TestReload has both halves read random files, valid and invalid ones, while 20
// associations and 20 CONNECTs are in use: nothing is lost, nothing is reset, but of the
// one client that comes and goes. E2E_RELOADS says how many, 200 otherwise.
func TestReload(t *testing.T) {
	reloads := 200
	if n, err := strconv.Atoi(os.Getenv("E2E_RELOADS")); err == nil {
		reloads = n
	}
	p := begin(t, halves.Config{Admin: true, Client: "users: [" + ann + "]\n", User: "ann", Password: "correct horse"})
	echo := udpEcho(t, "127.0.0.1:0")
	server := tcpServer(t, "127.0.0.1:0", mirror)

	// A second client, in a file of its own.
	guest := halves.Config{Dir: t.TempDir(), Tunnel: p.Tunnel, Socks: ports(t, 1), Paths: []halves.Path{{Name: "guest", Bind: "127.0.0.3", Subflows: 1}}}
	if err := guest.Write(mpsocks); err != nil {
		t.Fatal(err)
	}
	guestKey := publicKey(t, guest.ServerFile)
	trustServer(t, guest.ClientFile, p.ClientFile)
	clients := filepath.Join(p.Dir, "clients.d")
	if err := os.Mkdir(clients, 0o755); err != nil {
		t.Fatal(err)
	}
	guestFile := filepath.Join(clients, "guest.yaml")
	guestText := []byte("name: guest\npublic_key: " + guestKey + "\n")

	stop := make(chan struct{})
	var wg sync.WaitGroup
	end := sync.OnceFunc(func() { close(stop); wg.Wait() })
	defer end()
	var all []*roundTripper
	for i := range 20 {
		a, c := &roundTripper{name: fmt.Sprint("association ", i)}, &roundTripper{name: fmt.Sprint("CONNECT ", i)}
		all = append(all, a, c)
		by := socks.Dialer{Proxy: p.Proxy(), User: p.User, Password: p.Password}
		f, conn := associateBy(t, &by), connectBy(t, &by, server.String())
		wg.Go(func() { a.associated(t, f, echo.String(), stop) })
		wg.Go(func() { c.connected(conn, stop) })
	}
	var guestClient *halves.Process
	defer func() {
		if guestClient != nil {
			guestClient.Kill()
		}
	}()

	goodServer, goodClient := read(t, p.ServerFile), read(t, p.ClientFile)
	v := variations{rnd: rand.New(rand.NewPCG(1, uint64(reloads))), pair: p, free: ports(t, 8)}
	sessions := sessionIDs(p)
	revoked, invalid := 0, 0
	var guestConn *net.TCPConn
	for i := range reloads {
		file, good := p.ServerFile, goodServer
		if i%2 == 1 {
			file, good = p.ClientFile, goodClient
		}
		asked := filepath.Join(p.Dir, "asked.yaml") // says where the half is, also where its file has a mistake
		if err := os.WriteFile(asked, []byte(good), 0o600); err != nil {
			t.Fatal(err)
		}
		text, bad := good, v.rnd.IntN(3) == 0
		if bad {
			text = mistakes[v.rnd.IntN(len(mistakes))](good)
			invalid++
		} else {
			text = v.of(good, i%2 == 1)
		}
		// As an editor that is minded does it.
		if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
		come := i%8 == 0
		if i%4 == 0 {
			if come {
				if err := os.WriteFile(guestFile, guestText, 0o644); err != nil {
					t.Fatal(err)
				}
			} else if err := os.Remove(guestFile); err != nil {
				t.Fatal(err)
			}
		}
		out, err := exec.Command(mpsocks, "reload", "-c", asked).CombinedOutput()
		if bad != (err != nil) {
			t.Fatalf("reload %d, a mistake: %v: %v\n%s\n%s", i, bad, err, out, text)
		}
		if i%4 != 0 || bad {
			continue
		}
		switch {
		case come:
			// A fresh one: who was refused asks ever more seldom.
			if guestClient != nil {
				guestClient.Kill()
			}
			if guestClient, err = halves.Run(mpsocks, "client", "-c", guest.ClientFile); err != nil {
				t.Fatal(err)
			}
			eventually(t, 20*time.Second, "the guest gets in", func() bool {
				guestConn, err = try(guest.Socks[0], server.String())
				return err == nil
			})
		case guestConn != nil:
			_ = guestConn.SetReadDeadline(time.Now().Add(patience))
			_, err := guestConn.Read(make([]byte, 1))
			if timeout, ok := err.(net.Error); err == nil || ok && timeout.Timeout() {
				t.Errorf("reload %d: a revoked client's CONNECT lives on", i)
			}
			guestConn.Close()
			guestConn = nil
			revoked++
		}
	}
	end()
	var sent, lost int64
	for _, r := range all {
		sent, lost = sent+r.sent.Load(), lost+r.lost.Load()
		if n := r.lost.Load(); n > 0 {
			t.Errorf("%s: %d of %d lost", r.name, n, r.sent.Load())
		}
		if err := r.ended.Load(); err != nil {
			t.Errorf("%s ended after %d round trips: %v", r.name, r.sent.Load(), *err)
		}
	}
	if got := sessionIDs(p); got != sessions {
		t.Errorf("the session was %s and is %s", sessions, got)
	}
	t.Logf("%d reloads, %d of them with a mistake; %d round trips, %d lost; %d times the guest was revoked", reloads, invalid, sent, lost, revoked)
}

// ann is the user whose connections go on.
const ann = "{name: ann, password: correct horse}"

// variations are valid files.
type variations struct {
	rnd  *rand.Rand
	pair *halves.Pair
	free []netip.AddrPort // for what a file has in addition
}

// of changes up to three settings of a file, each a line.
func (v *variations) of(text string, client bool) string {
	lines := []string{
		"mode: aggregate", "mode: latency", "mode: redundant", "session_timeout: 3m",
		"rules: [{ports: 1-65535, class: latency}]", "rules: [{to: 127.0.0.0/8, class: bulk}]",
		"log: {level: debug, format: console}", "log: {level: warn, format: console}",
	}
	if client {
		lines = append(lines, v.client()...)
	} else {
		lines = append(lines, v.server(text)...)
	}
	for _, i := range v.rnd.Perm(len(lines))[:3] {
		line := lines[i]
		key, _, _ := strings.Cut(line, ":")
		begin := key + ":"
		if line[0] == ' ' { // an element of a list, with its name
			begin, _, _ = strings.Cut(line, ",")
		}
		if strings.Contains("\n"+text, "\n"+begin) {
			text = replaceLine(text, begin, line)
		} else {
			text += line + "\n"
		}
	}
	return text
}

func (v *variations) client() []string {
	lines := []string{
		"limits: {associations: 21, streams: 21}", "udp: {offload: \"off\"}",
		"users: [" + ann + ", {name: bob, password: battery}]", "users: [{name: eve, password: staple}, " + ann + "]",
		fmt.Sprintf("listen: [%q, %q]", v.pair.Socks[0], v.free[0]), fmt.Sprintf("listen: [%q, %q]", v.free[1], v.pair.Socks[0]),
		fmt.Sprintf("forwards: [{listen: %q, to: \"192.0.2.1:53\"}]", v.free[2]), fmt.Sprintf("forwards: [{listen: %q, to: \"192.0.2.2:53\"}]", v.free[2]),
		fmt.Sprintf("publish: [{listen: \":%d\", to: \"127.0.0.1:9\"}]", v.free[3].Port()),
		fmt.Sprintf("admin: [%q, %q]", v.pair.ClientAdmin, v.free[4]),
		"  - {name: two, bind: 127.0.0.2, subflows: 1, metered: true, monthly_cap: 1GiB}",
		"  - {name: two, bind: 127.0.0.2, subflows: 1}\n  - {name: three, bind: 127.0.0.4, weight: 2}",
		"  - {name: two, bind: 127.0.0.5, backup: true}",
	}
	if os.Geteuid() == 0 { // TPROXY needs it
		lines = append(lines, fmt.Sprintf("redirect: {listen: [%q]}", v.free[5]))
	}
	return lines
}

func (v *variations) server(text string) []string {
	here := ""
	for l := range strings.Lines(text) {
		if strings.HasPrefix(l, "  - {name: here") {
			here, _, _ = strings.Cut(l, "publish:")
		}
	}
	return []string{
		"limits: {mappings: 30, mappings_per_client: 25, streams: 60, streams_per_client: 50, sessions: 3, sessions_per_client: 2}",
		"drain: 3s", "advertise: [\"192.0.2.9:443\"]",
		fmt.Sprintf("listen: [%q, %q]", v.pair.Tunnel, v.free[6]),
		fmt.Sprintf("admin: [%q, %q]", v.pair.ServerAdmin, v.free[7]),
		here + fmt.Sprintf("publish: [%d]}", v.free[3].Port()), here + "publish: [], quota: 500GiB}", here + "publish: [1-1000], rate: 1Gbit, streams: 100}",
	}
}

// try connects once.
func try(proxy netip.AddrPort, to string) (*net.TCPConn, error) {
	d := socks.Dialer{Proxy: proxy.String()}
	return d.Connect(to)
}

// read returns the text of a file.
func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// publicKey is the key of the first client of a server's file.
func publicKey(t *testing.T, file string) string {
	t.Helper()
	_, rest, ok := strings.Cut(read(t, file), "name: here, public_key: ")
	if i := strings.IndexAny(rest, ",}"); ok && i > 0 {
		return rest[:i]
	}
	t.Fatalf("%s has no client", file)
	return ""
}

// trustServer gives a client's file the server's key that another has.
func trustServer(t *testing.T, file, other string) {
	t.Helper()
	line := ""
	for l := range strings.Lines(read(t, other)) {
		if strings.HasPrefix(l, "  public_key:") {
			line = strings.TrimSuffix(l, "\n")
		}
	}
	if err := os.WriteFile(file, []byte(replaceLine(read(t, file), "  public_key:", line)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// sessionIDs are the numbers of the client's session, as its log has them.
func sessionIDs(p *halves.Pair) string {
	var ids []string
	for l := range strings.Lines(p.Client.Output()) {
		if _, id, ok := strings.Cut(l, "session="); ok && strings.Contains(l, "session established") {
			ids = append(ids, strings.TrimSpace(id))
		}
	}
	return strings.Join(ids, " ")
}
