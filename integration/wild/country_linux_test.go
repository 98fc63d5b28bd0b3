package wild

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netns"

	"github.com/mpsocks/mpsocks/status"
)

var (
	// program is the program under test.
	program string
	// countries is how many there have been: tests run side by side, for they mostly wait.
	countries atomic.Int64
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "wild")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "mpsocks")
	if out, err := exec.Command("go", "build", "-o", program, "github.com/mpsocks/mpsocks").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// The server is at far in all tests, and so is the echo.
const (
	far      = "10.99.0.1"
	proxy    = "127.0.0.1:1080"
	echoPort = ":9000"
)

// A country is some namespaces, with the halves in them.
type country struct {
	t      *testing.T
	dir    string
	prefix string
	places map[string]bool
	client *half
}

// newCountry has the namespaces cli and srv, and the server's address.
func newCountry(t *testing.T) *country {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces take root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("iproute2 is not there")
	}
	c := &country{t: t, dir: t.TempDir(), prefix: fmt.Sprintf("wild%d-%d-", os.Getpid(), countries.Add(1)), places: map[string]bool{}}
	if out, err := exec.Command("ip", "netns", "add", c.prefix+"probe").CombinedOutput(); err != nil {
		t.Skipf("no namespace can be made here: %s", bytes.TrimSpace(out))
	}
	c.t.Cleanup(func() { exec.Command("ip", "netns", "del", c.prefix+"probe").Run() })
	c.place("cli")
	c.place("srv")
	c.ip("srv", "addr add "+far+"/32 dev lo")
	return c
}

// sh runs a command, which has to succeed.
func (c *country) sh(command string) {
	c.t.Helper()
	words := strings.Fields(command)
	if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
		c.t.Fatalf("%s: %v: %s", command, err, out)
	}
}

func (c *country) ip(place, command string) {
	c.t.Helper()
	c.sh("ip -n " + c.prefix + place + " " + command)
}

// place makes a namespace, which forwards.
func (c *country) place(name string) {
	c.t.Helper()
	c.sh("ip netns add " + c.prefix + name)
	c.places[name] = true
	c.t.Cleanup(func() { exec.Command("ip", "netns", "del", c.prefix+name).Run() })
	c.ip(name, "link set lo up")
	c.within(name, func() error {
		for _, set := range []string{
			"ip_forward=1", "conf/all/rp_filter=0", "conf/default/rp_filter=0",
			"conf/all/promote_secondaries=1", "conf/default/promote_secondaries=1",
		} {
			key, value, _ := strings.Cut(set, "=")
			if err := os.WriteFile("/proc/sys/net/ipv4/"+key, []byte(value), 0); err != nil {
				return err
			}
		}
		return nil
	})
}

// within calls f in a namespace; sockets that it makes stay there.
func (c *country) within(place string, f func() error) {
	c.t.Helper()
	if err := inside(c.prefix+place, f); err != nil {
		c.t.Fatalf("in %s: %v", place, err)
	}
}

func inside(name string, f func() error) error {
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer func() {
		if netns.Set(home) == nil {
			runtime.UnlockOSThread() // else the thread ends with its goroutine
		}
		home.Close()
	}()
	there, err := netns.GetFromName(name)
	if err != nil {
		return err
	}
	defer there.Close()
	if err := netns.Set(there); err != nil {
		return err
	}
	return f()
}

// router puts a router between cli and srv: cli --(192.168.K.0/24)-- rK --(10.K.0.0/24)-- srv.
// Packets of more than mtu bytes are lost where it receives them, and it says nothing.
func (c *country) router(k, mtu int, device string) {
	c.t.Helper()
	r := fmt.Sprint("r", k)
	c.place(r)
	c.wire(k, mtu, device)
	c.sh(fmt.Sprintf("ip link add wan mtu %d netns %s%s type veth peer name u%d mtu 1500 gso_max_segs 1 netns %ssrv", mtu, c.prefix, r, k, c.prefix))
	c.ip(r, fmt.Sprintf("addr add 10.%d.0.2/24 dev wan", k))
	c.ip("srv", fmt.Sprintf("addr add 10.%d.0.1/24 dev u%d", k, k))
	c.ip(r, "link set wan up")
	c.ip("srv", fmt.Sprintf("link set u%d up", k))
	c.ip(r, fmt.Sprintf("route add default via 10.%d.0.1", k))
	c.ip("srv", fmt.Sprintf("route add 192.168.%d.0/24 via 10.%d.0.2", k, k))
}

// wire joins cli to its router, by a device of that name.
func (c *country) wire(k, mtu int, device string) {
	c.t.Helper()
	r := fmt.Sprint("r", k)
	c.sh(fmt.Sprintf("ip link add lan mtu %d netns %s%s type veth peer name %s mtu 1500 gso_max_segs 1 netns %scli", mtu, c.prefix, r, device, c.prefix))
	c.ip(r, fmt.Sprintf("addr add 192.168.%d.1/24 dev lan", k))
	c.ip(r, "link set lan up")
	c.ip("cli", fmt.Sprintf("addr add 192.168.%d.2/24 dev %s", k, device))
	c.ip("cli", "link set "+device+" up")
	c.ip("cli", fmt.Sprintf("route add default via 192.168.%d.1 dev %s metric %d", k, device, 100*k))
}

// A half is one process.
type half struct {
	cmd *exec.Cmd
	log string
}

// said is what the half has written.
func (h *half) said(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(h.log)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// start runs a half in a place until the test ends.
func (c *country) start(place, name, word, config string) *half {
	c.t.Helper()
	h := c.run(place, name, program, word, "-c", config)
	c.t.Cleanup(func() { terse(c.t, name, h.said(c.t)) })
	return h
}

// run runs a program in a place until the test ends.
func (c *country) run(place, name string, command ...string) *half {
	c.t.Helper()
	h := &half{log: filepath.Join(c.dir, name+".log")}
	out, err := os.Create(h.log)
	if err != nil {
		c.t.Fatal(err)
	}
	h.cmd = exec.Command("ip", append([]string{"netns", "exec", c.prefix + place}, command...)...)
	h.cmd.Stdout, h.cmd.Stderr = out, out
	if err := h.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		h.cmd.Process.Signal(syscall.SIGCONT)
		h.cmd.Process.Kill()
		h.cmd.Wait()
		out.Close()
		if c.t.Failed() {
			said, _ := os.ReadFile(h.log)
			c.t.Logf("%s said:\n%s", name, said)
		}
	})
	return h
}

// keys makes the configurations of both halves; server and paths are lines of the client's.
func (c *country) keys(addresses string, paths string) (client, server string) {
	c.t.Helper()
	c.sh(program + " init --server " + far + ":7443 --dir " + c.dir)
	edit := func(file string, add string, drop ...string) string {
		path := filepath.Join(c.dir, file)
		b, err := os.ReadFile(path)
		if err != nil {
			c.t.Fatal(err)
		}
		var keep []string
		skip := false
		for l := range strings.Lines(string(b)) {
			top := l != "" && l[0] != ' ' && l[0] != '#' && l[0] != '-' && l[0] != '\n'
			if top {
				skip = false
				for _, d := range drop {
					skip = skip || strings.HasPrefix(l, d+":")
				}
			}
			if skip {
				continue
			}
			if addresses != "" && strings.Contains(l, "addresses:") {
				l = "  addresses: " + addresses + "\n"
			}
			keep = append(keep, l)
		}
		if err := os.WriteFile(path, []byte(strings.Join(keep, "")+add), 0o600); err != nil {
			c.t.Fatal(err)
		}
		return path
	}
	client = edit("client.yaml", paths+"\nlisten: [\""+proxy+"\"]\nadmin: 127.0.0.1:9081\nstate_dir: "+c.dir+"/c\nrun_socket: \"off\"\nlog: {level: debug}\n",
		"paths", "listen", "admin", "log", "state_dir", "run_socket")
	server = edit("server.yaml", "\nlisten: [\"0.0.0.0:7443\"]\nadmin: 127.0.0.1:9082\nstate_dir: "+c.dir+"/s\nlog: {level: debug}\nrelay: {allow: [10.0.0.0/8]}\n",
		"listen", "admin", "log", "relay", "state_dir")
	return client, server
}

// echo answers datagrams in a place, at all its addresses.
func (c *country) echo(place string) {
	c.t.Helper()
	c.answers(place, &net.UDPAddr{Port: 9000}, func(b []byte) []byte { return b })
}

// answers has datagrams to an address of a place answered until the test ends; nil is no answer.
func (c *country) answers(place string, at *net.UDPAddr, answer func([]byte) []byte) {
	c.t.Helper()
	var conn *net.UDPConn
	c.within(place, func() (err error) {
		conn, err = net.ListenUDP("udp4", at)
		return err
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 2048)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(b)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				continue
			}
			if out := answer(b[:n]); out != nil {
				conn.WriteToUDPAddrPort(out, from)
			}
		}
	}()
	c.t.Cleanup(func() { conn.Close(); <-done })
}

// works waits until a datagram comes back through the proxy, of to's echo.
func (c *country) works(limit time.Duration, to string) (took time.Duration) {
	c.t.Helper()
	begin := time.Now()
	for time.Since(begin) < limit {
		if c.associate(to, func(send func() error, receive func(time.Duration) error) error {
			for range 3 {
				if err := send(); err != nil {
					return err
				}
				if receive(150*time.Millisecond) == nil {
					return nil
				}
			}
			return errors.New("no answer")
		}) == nil {
			return time.Since(begin)
		}
		time.Sleep(20 * time.Millisecond)
	}
	c.t.Fatalf("nothing comes back for %v", limit)
	return 0
}

// associate opens an association with the proxy and calls use with its two ends.
func (c *country) associate(to string, use func(send func() error, receive func(time.Duration) error) error) error {
	return c.exchange(to, len("ping"), use)
}

// exchange is associate with datagrams of so many bytes.
func (c *country) exchange(to string, size int, use func(send func() error, receive func(time.Duration) error) error) error {
	var control, relay net.Conn
	err := inside(c.prefix+"cli", func() (err error) {
		if control, err = net.DialTimeout("tcp4", proxy, time.Second); err != nil {
			return err
		}
		control.SetDeadline(time.Now().Add(2 * time.Second))
		b := make([]byte, 12)
		control.Write([]byte{5, 1, 0, 5, 3, 0, 1, 0, 0, 0, 0, 0, 0})
		if _, err = io.ReadFull(control, b); err != nil {
			return err
		}
		if b[3] != 0 {
			return fmt.Errorf("reply %d", b[3])
		}
		port := int(b[10])<<8 | int(b[11])
		relay, err = net.Dial("udp4", fmt.Sprintf("127.0.0.1:%d", port))
		return err
	})
	if control != nil {
		defer control.Close()
	}
	if err != nil {
		return err
	}
	defer relay.Close()
	at := netip.MustParseAddr(to).As4()
	datagram := append([]byte{0, 0, 0, 1, at[0], at[1], at[2], at[3], 9000 >> 8, 9000 & 255}, make([]byte, size)...)
	answer := make([]byte, 100)
	return use(func() error { _, err := relay.Write(datagram); return err }, func(d time.Duration) error {
		relay.SetReadDeadline(time.Now().Add(d))
		_, err := relay.Read(answer)
		return err
	})
}

// A flow sends 200 datagrams a second and notes the longest time without an answer.
type flow struct {
	mu   sync.Mutex
	last time.Time
	gap  time.Duration
	end  chan struct{}
	done chan error
}

func (c *country) flow(to string) *flow { return c.flowOf(to, len("ping")) }

// flowOf is flow with datagrams of so many bytes.
func (c *country) flowOf(to string, size int) *flow {
	f := &flow{end: make(chan struct{}), done: make(chan error, 1)}
	go func() {
		f.done <- c.exchange(to, size, func(send func() error, receive func(time.Duration) error) error {
			for {
				select {
				case <-f.end:
					return nil
				default:
				}
				if err := send(); err != nil {
					return err
				}
				if receive(5*time.Millisecond) == nil {
					f.mu.Lock()
					if !f.last.IsZero() {
						f.gap = max(f.gap, time.Since(f.last))
					}
					f.last = time.Now()
					f.mu.Unlock()
				}
			}
		})
	}()
	return f
}

// longest ends the flow and returns its longest gap.
func (f *flow) longest(t *testing.T) time.Duration {
	t.Helper()
	close(f.end)
	if err := <-f.done; err != nil {
		t.Fatal(err)
	}
	if f.last.IsZero() {
		t.Fatal("nothing ever came back")
	}
	return max(f.gap, time.Since(f.last))
}

// path returns what status says of a path.
func (c *country) path(name string) (out status.Path) {
	c.t.Helper()
	var answer []byte
	inside(c.prefix+"cli", func() error {
		conn, err := net.DialTimeout("tcp4", "127.0.0.1:9081", time.Second)
		if err != nil {
			return err
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(2 * time.Second))
		req, _ := http.NewRequest("GET", "http://127.0.0.1:9081/status", nil)
		req.Close = true
		if err := req.Write(conn); err != nil {
			return err
		}
		answer, err = io.ReadAll(conn)
		return err
	})
	_, body, _ := bytes.Cut(answer, []byte("\r\n\r\n"))
	var s status.Status
	if i := bytes.IndexByte(body, '{'); i >= 0 {
		json.NewDecoder(bytes.NewReader(body[i:])).Decode(&s)
	}
	if s.Session == nil {
		return out
	}
	for _, p := range s.Session.Paths {
		if p.Name == name {
			return p
		}
	}
	return out
}

// soonest measures until it was within most, three times at most, in a country of its own each
// time: the machine has much else to do, and what is slow is so each time.
func soonest(t *testing.T, most time.Duration, measure func(t *testing.T) time.Duration) {
	t.Helper()
	least := time.Duration(math.MaxInt64)
	for i := 0; i < 3 && least > most; i++ {
		if !t.Run("once", func(t *testing.T) { least = min(least, measure(t)) }) {
			return
		}
	}
	if least > most {
		t.Errorf("%v at the least, more than %v", least, most)
	}
}

// until waits for something.
func (c *country) until(limit time.Duration, what string, ok func() bool) time.Duration {
	c.t.Helper()
	begin := time.Now()
	for !ok() {
		if time.Since(begin) > limit {
			c.t.Fatalf("not within %v: %s", limit, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
	return time.Since(begin)
}
