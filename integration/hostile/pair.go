package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mpsocks/mpsocks/mux/muxtest"
)

// memory is the server's limits.memory.
const memory = 256 << 20

// A pair is the two halves with an echo service behind them, all on loopback.
type pair struct {
	dir            string
	server, client *process
	at             string   // the server's address
	decoy          *process // another server, which nobody uses
	elsewhere      string   // its address
	socks          string
	echo           *net.UDPConn // for the honest
	theirs         string       // the attacker's configuration
	program        string
}

// A process is one half.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
}

func run(program, dir, half string) (*process, error) {
	log, err := os.Create(filepath.Join(dir, half+".log"))
	if err != nil {
		return nil, err
	}
	kind, _, _ := strings.Cut(half, "-")
	p := &process{cmd: exec.Command(program, kind, "-c", filepath.Join(dir, half+".yaml")), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { _ = p.cmd.Wait(); log.Close(); close(p.done) }()
	return p, nil
}

func (p *process) alive() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

func (p *process) stop() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// freePort is one that nobody has, or 0.
func freePort() uint16 {
	port, _ := muxtest.FreePort()
	return port
}

// echo answers datagrams with themselves.
func echo() (*net.UDPConn, error) {
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	_ = c.SetReadBuffer(4 << 20)
	go func() {
		b := make([]byte, 2048)
		for {
			n, from, err := c.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			_, _ = c.WriteToUDPAddrPort(b[:n], from)
		}
	}()
	return c, nil
}

// start makes keys and files, and runs both halves.
func start(program string) (*pair, error) {
	dir, err := os.MkdirTemp("", "hostile")
	if err != nil {
		return nil, err
	}
	p := &pair{dir: dir, program: program, at: fmt.Sprintf("127.0.0.1:%d", freePort())}
	if out, err := exec.Command(program, "init", "--server", p.at, "--dir", dir).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("init: %w: %s", err, out)
	}
	p.socks = fmt.Sprintf("127.0.0.1:%d", freePort())
	if err := p.edit(); err != nil {
		return nil, err
	}
	// The attacker is a client with a key of its own: within one client shares are
	// nobody's.
	attacker := filepath.Join(dir, "attacker.yaml")
	out, err := exec.Command(program, "clients", "add", "attacker", "-c", filepath.Join(dir, "server.yaml"), "--server", p.at, "--out", attacker).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("clients add: %w: %s", err, out)
	}
	p.theirs = attacker
	if p.echo, err = echo(); err != nil {
		return nil, err
	}
	if p.server, err = run(program, dir, "server"); err != nil {
		return nil, err
	}
	if err := p.decoyed(); err != nil {
		return nil, err
	}
	if p.client, err = run(program, dir, "client"); err != nil {
		return nil, err
	}
	if d := p.until(p.socks); d > 10*time.Second {
		return nil, fmt.Errorf("the pair does not work: see %s", dir)
	}
	return p, nil
}

// decoyed runs another server with the same keys, to be attacked in the place of the first.
func (p *pair) decoyed() error {
	b, err := os.ReadFile(filepath.Join(p.dir, "server.yaml"))
	if err != nil {
		return err
	}
	p.elsewhere = fmt.Sprintf("127.0.0.1:%d", freePort())
	body := strings.NewReplacer(p.at, p.elsewhere, p.state("server"), p.state("server-decoy")).Replace(string(b))
	if err := os.WriteFile(filepath.Join(p.dir, "server-decoy.yaml"), []byte(body), 0o600); err != nil {
		return err
	}
	if p.decoy, err = run(p.program, p.dir, "server-decoy"); err != nil {
		return err
	}
	for range 200 { // until it listens
		if c, err := dial(p.elsewhere); err == nil {
			c.Close()
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return errors.New("the decoy does not listen")
}

// state is the line of a half's configuration that says where it keeps what it knows.
func (p *pair) state(half string) string {
	return fmt.Sprintf("state_dir: %q", filepath.Join(p.dir, half))
}

// edit makes the files that init has written fit: loopback, ports of its own, a limit.
func (p *pair) edit() error {
	edit := func(name string, pairs ...string) error {
		b, err := os.ReadFile(filepath.Join(p.dir, name))
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(p.dir, name), []byte(strings.NewReplacer(pairs...).Replace(string(b))), 0o600)
	}
	return errors.Join(
		edit("server.yaml", "listen: [\"0.0.0.0:", "listen: [\"127.0.0.1:", "listen: [\":", "listen: [\"127.0.0.1:",
			"  allow: []", "  allow: [127.0.0.0/8]", "admin: \"127.0.0.1:9082\"", "admin: \"\"\n"+p.state("server"), "limits: {}", fmt.Sprintf("limits: {memory: %dMiB}", memory>>20)),
		edit("client.yaml", "127.0.0.1:1080", p.socks, "admin: \"127.0.0.1:9081\"", "admin: \"\"\n"+p.state("client")))
}

func (p *pair) stop() {
	p.client.stop()
	p.server.stop()
	if p.decoy != nil {
		p.decoy.stop()
	}
	p.echo.Close()
	if *keep {
		fmt.Println("logs are in", p.dir)
		return
	}
	os.RemoveAll(p.dir)
}

// An association is one SOCKS UDP association.
type association struct {
	tcp net.Conn
	udp *net.UDPConn
	to  []byte // the header of a datagram to the echo
}

func (p *pair) associate(socks string) (*association, error) {
	c, err := net.DialTimeout("tcp", socks, time.Second)
	if err != nil {
		return nil, err
	}
	_ = c.SetDeadline(time.Now().Add(2 * time.Second))
	b := make([]byte, 12)
	if _, err = c.Write([]byte{5, 1, 0, 5, 3, 0, 1, 0, 0, 0, 0, 0, 0}); err == nil {
		_, err = io.ReadFull(c, b)
	}
	if err != nil || b[3] != 0 {
		c.Close()
		return nil, fmt.Errorf("no association: %v, reply %d", err, b[3])
	}
	u, err := net.DialUDP("udp", nil, &net.UDPAddr{IP: net.IP(b[6:10]), Port: int(binary.BigEndian.Uint16(b[10:]))})
	if err != nil {
		c.Close()
		return nil, err
	}
	at := p.echo.LocalAddr().(*net.UDPAddr)
	to := append([]byte{0, 0, 0, 1}, at.IP.To4()...)
	return &association{c, u, binary.BigEndian.AppendUint16(to, uint16(at.Port))}, nil
}

func (a *association) close() { a.tcp.Close(); a.udp.Close() }

// until is how long it takes until a datagram comes back.
func (p *pair) until(socks string) time.Duration {
	begin := time.Now()
	for time.Since(begin) < 12*time.Second {
		a, err := p.associate(socks)
		if err != nil {
			time.Sleep(20 * time.Millisecond)
			continue
		}
		for range 10 {
			_, _ = a.udp.Write(append(slices.Clone(a.to), "hello"...))
			_ = a.udp.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
			if _, err := a.udp.Read(make([]byte, 100)); err == nil {
				a.close()
				return time.Since(begin)
			}
		}
		a.close()
	}
	return time.Since(begin)
}

// join runs another client of the same key, and says how long it takes until it works.
func (p *pair) join() time.Duration {
	b, err := os.ReadFile(filepath.Join(p.dir, "client.yaml"))
	if err != nil {
		return time.Hour
	}
	socks := fmt.Sprintf("127.0.0.1:%d", freePort())
	name := filepath.Join(p.dir, "client-2.yaml")
	if err := os.WriteFile(name, []byte(strings.ReplaceAll(string(b), p.socks, socks)), 0o600); err != nil {
		return time.Hour
	}
	second, err := run(p.program, p.dir, "client-2")
	if err != nil {
		return time.Hour
	}
	defer second.stop()
	return p.until(socks)
}

// A measure is what an honest load saw.
type measure struct {
	sent, lost int
	p50, p99   time.Duration
	took       []time.Duration // sorted
}

func (m measure) String() string {
	return fmt.Sprintf("%d sent, %d lost, p50 %v, p99 %v", m.sent, m.lost, m.p50.Round(10*time.Microsecond), m.p99.Round(10*time.Microsecond))
}

// load is what a client's datagrams see, so many a second.
func (p *pair) load(socks string, rate int, d time.Duration) (m measure) {
	a, err := p.associate(socks)
	if err != nil {
		return measure{sent: 1, lost: 1}
	}
	defer a.close()
	_ = a.udp.SetReadBuffer(4 << 20) // what is lost there is not the tunnel's
	n := int(d.Seconds() * float64(rate))
	at := make([]time.Time, n)
	took := make([]time.Duration, 0, n)
	seen := make([]bool, n)
	var mu sync.Mutex
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 2048)
		for {
			k, err := a.udp.Read(b)
			if err != nil {
				return
			}
			if k < 14 {
				continue
			}
			i := int(binary.BigEndian.Uint32(b[10:]))
			mu.Lock()
			if i < n && !seen[i] && !at[i].IsZero() {
				seen[i] = true
				took = append(took, time.Since(at[i]))
			}
			mu.Unlock()
		}
	}()
	begin := time.Now()
	for i := range n {
		time.Sleep(time.Until(begin.Add(time.Duration(i) * time.Second / time.Duration(rate))))
		mu.Lock()
		at[i] = time.Now()
		mu.Unlock()
		pkt := binary.BigEndian.AppendUint32(slices.Clone(a.to), uint32(i))
		_, _ = a.udp.Write(append(pkt, make([]byte, 200)...))
	}
	_ = a.udp.SetReadDeadline(time.Now().Add(2 * time.Second))
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		mu.Lock()
		all := len(took) == n
		mu.Unlock()
		if all {
			break
		}
	}
	_ = a.udp.SetReadDeadline(time.Now())
	<-done
	return measured(n, took)
}

func measured(n int, took []time.Duration) measure {
	slices.Sort(took)
	m := measure{sent: n, lost: n - len(took), took: took}
	if len(took) > 0 {
		m.p50, m.p99 = took[len(took)/2], took[len(took)*99/100]
	}
	return m
}
