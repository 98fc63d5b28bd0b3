package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// A crowd is further honest clients, each a process with a key of its own.
type crowd struct {
	clients []*process
	socks   []string
}

// gather adds n clients to the server's configuration, has it read, and runs them.
func (p *pair) gather(n int) (*crowd, error) {
	c := new(crowd)
	for i := range n {
		name := fmt.Sprintf("client-crowd%d", i)
		file := filepath.Join(p.dir, name+".yaml")
		out, err := exec.Command(p.program, "clients", "add", name, "-c", filepath.Join(p.dir, "server.yaml"), "--server", p.at, "--out", file).CombinedOutput()
		if err != nil {
			return c, fmt.Errorf("clients add: %w: %s", err, out)
		}
		b, err := os.ReadFile(file)
		if err != nil {
			return c, err
		}
		socks := fmt.Sprintf("127.0.0.1:%d", freePort())
		body := strings.NewReplacer("127.0.0.1:1080", socks, "admin: \"127.0.0.1:9081\"", "admin: \"\"").Replace(string(b))
		if err := os.WriteFile(file, []byte(body), 0o600); err != nil {
			return c, err
		}
		c.socks = append(c.socks, socks)
	}
	if err := p.server.cmd.Process.Signal(reload); err != nil {
		return c, err
	}
	for i, socks := range c.socks {
		k, err := run(p.program, p.dir, fmt.Sprintf("client-crowd%d", i))
		if err != nil {
			return c, err
		}
		c.clients = append(c.clients, k)
		if d := p.until(socks); d > 10*time.Second {
			return c, fmt.Errorf("client %d of the crowd does not work: see %s", i, p.dir)
		}
	}
	return c, nil
}

func (c *crowd) stop() {
	for _, k := range c.clients {
		k.stop()
	}
}

// load is what all of them see together, each with its part of the honest load.
func (c *crowd) load(p *pair, d time.Duration) measure {
	all := make([]measure, len(c.socks))
	rate := (honest + len(all) - 1) / len(all)
	var wg sync.WaitGroup
	for i, socks := range c.socks {
		wg.Go(func() { all[i] = p.load(socks, rate, d) })
	}
	wg.Wait()
	var took []time.Duration
	sent := 0
	for _, m := range all {
		sent += m.sent
		took = append(took, m.took...)
	}
	return measured(sent, slices.Clip(took))
}

// ends are two services on loopback: one says more than anybody takes, the other reads
// nothing. The kernel holds little for them: what it holds is the server's.
func ends() (source, sink *net.TCPListener, err error) {
	at := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}
	if source, err = net.ListenTCP("tcp", at); err != nil {
		return nil, nil, err
	}
	if sink, err = net.ListenTCP("tcp", at); err != nil {
		return nil, nil, err
	}
	serve := func(l *net.TCPListener, f func(net.Conn)) {
		for {
			c, err := l.AcceptTCP()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_ = c.SetWriteBuffer(16 << 10)
				_ = c.SetReadBuffer(16 << 10)
				f(c)
			}()
		}
	}
	go serve(source, func(c net.Conn) {
		for b := make([]byte, 64<<10); ; {
			if _, err := c.Write(b); err != nil {
				return
			}
		}
	})
	go serve(sink, func(c net.Conn) { time.Sleep(time.Minute) })
	return source, sink, nil
}
