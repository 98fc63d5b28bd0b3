package halves

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/mpsocks/mpsocks/integration/bench/socks"
)

// A Pair is both halves, running.
type Pair struct {
	Config
	Bin            string
	Client, Server *Process
}

// startLimit is how long a pair may take until the first datagram is echoed
// through it; a healthy one needs well under a second.
const startLimit = 15 * time.Second

// Start fills the gaps of the configuration, starts both halves and returns
// when a datagram goes through and back.
func Start(bin string, c Config) (*Pair, error) {
	free, err := FreePorts(2)
	if err != nil {
		return nil, err
	}
	if len(c.Socks) == 0 {
		c.Socks = []netip.AddrPort{free[0]}
	}
	if !c.Tunnel.IsValid() {
		c.Tunnel = free[1]
	}
	if c.Allow == nil {
		c.Allow = []string{"127.0.0.0/8"}
	}
	p := &Pair{Config: c, Bin: bin}
	if err := p.Write(bin); err != nil {
		return nil, err
	}
	if err := p.StartServer(); err != nil {
		return nil, err
	}
	if p.Client, err = Run(bin, "client", "-c", p.ClientFile); err != nil {
		p.Server.Kill()
		return nil, err
	}
	if err := p.Ready(startLimit); err != nil {
		p.Kill()
		return nil, fmt.Errorf("%w\nclient said: %s\nserver said: %s", err, p.Client.Output(), p.Server.Output())
	}
	return p, nil
}

// StartServer starts the server's half anew, after its predecessor has ended.
func (p *Pair) StartServer() (err error) {
	p.Server, err = Run(p.Bin, "server", "-c", p.ServerFile)
	return err
}

// Join starts one more client half with the pair's key, whose SOCKS address is at, and
// returns when datagrams go through it.
func (p *Pair) Join(at netip.AddrPort) (*Process, error) {
	other := *p
	other.Dir = filepath.Join(p.Dir, fmt.Sprint("client", at.Port()))
	other.Socks, other.ClientAdmin = []netip.AddrPort{at}, ""
	k, err := keys(p.ClientFile)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(other.Dir, 0o700); err != nil {
		return nil, err
	}
	other.ClientFile = filepath.Join(other.Dir, "client.yaml")
	if err := os.WriteFile(other.ClientFile, []byte(other.client(k)), 0o600); err != nil {
		return nil, err
	}
	if other.Client, err = Run(p.Bin, "client", "-c", other.ClientFile); err != nil {
		return nil, err
	}
	if err := other.Ready(startLimit); err != nil {
		other.Client.Kill()
		return nil, fmt.Errorf("%w\nclient said: %s", err, other.Client.Output())
	}
	return other.Client, nil
}

// Proxy is the SOCKS address, host:port.
func (p *Pair) Proxy() string { return p.Socks[0].String() }

// PIDs are the client's and the server's process numbers.
func (p *Pair) PIDs() []int { return []int{p.Client.PID(), p.Server.PID()} }

// Kill ends both halves at once.
func (p *Pair) Kill() {
	p.Client.Kill()
	p.Server.Kill()
}

// Ready waits until a datagram is echoed through the tunnel.
func (p *Pair) Ready(limit time.Duration) error {
	echo, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		return err
	}
	defer echo.Close() // ends the goroutine below
	go func() {
		b := make([]byte, 2048)
		for {
			n, from, err := echo.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			_, _ = echo.WriteToUDPAddrPort(b[:n], from) // a lost one is sent again
		}
	}()
	deadline := time.Now().Add(limit)
	for {
		err = p.probe(echo.LocalAddr().String())
		if err == nil {
			return nil
		}
		select {
		case <-p.Client.Done():
			return fmt.Errorf("the client ended: %w", err)
		case <-p.Server.Done():
			return fmt.Errorf("the server ended: %w", err)
		default:
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("nothing comes through after %v: %w", limit, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// probe sends datagrams on one association for a second at most.
func (p *Pair) probe(echo string) error {
	d := p.dialer()
	control, relay, err := d.Associate()
	if err != nil {
		return err
	}
	defer control.Close()
	conn, err := net.Dial("udp", relay.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	datagram, err := socks.AppendDatagram(nil, echo, []byte("ready?"))
	if err != nil {
		return err
	}
	answer := make([]byte, 2048)
	for range 10 {
		if _, err = conn.Write(datagram); err != nil {
			return err
		}
		_ = conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		if _, err = conn.Read(answer); err == nil {
			return nil
		}
	}
	return err
}

func (p *Pair) dialer() socks.Dialer {
	return socks.Dialer{Proxy: p.Proxy(), User: p.User, Password: p.Password}
}
