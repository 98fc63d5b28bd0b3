package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/mpsocks/mpsocks/integration/baseline"
	"github.com/mpsocks/mpsocks/integration/loads"
	"github.com/mpsocks/mpsocks/integration/netlab"
	"github.com/mpsocks/mpsocks/integration/profiles"
)

// subject is one thing under test, running in a lab.
type subject struct {
	name  string
	route loads.Route
	half  [2]*exec.Cmd // client and server; nil for raw
	admin bool         // the halves tell their status at adminAddrs
	errs  chan error   // a half that ended by itself
	// accounts are those of the halves, while a load's cost is counted.
	accounts [2]account
}

// socks is where every proxy under test listens, in the client's namespace.
var socks = netip.MustParseAddrPort("127.0.0.1:1080")

// adminAddrs are where the client and the server tell their status, each in its namespace.
var adminAddrs = [2]string{"127.0.0.1:9081", "127.0.0.1:9082"}

// A stage is where subjects are started: with these options, and their files in dir.
type stage struct {
	*options
	dir string
}

// start brings the subject up in the lab and waits until it carries datagrams.
func (g stage) start(ctx context.Context, lab *netlab.Lab, p *profiles.Profile, name string) (*subject, error) {
	s := &subject{name: name, route: loads.Route{Place: lab.Client}, errs: make(chan error, 2)}
	kind, path, _ := strings.Cut(name, ":")
	var err error
	switch kind {
	case "raw":
		at := lab.Paths[p.Best()]
		if path != "" {
			at = lab.Path(path)
		}
		if at == nil {
			return nil, fmt.Errorf("subject %s: no such path", name)
		}
		s.route.Source = at.ClientAddr()
		return s, nil
	case "mpsocks", "alone":
		err = g.startMpsocks(ctx, lab, p, s, path)
	case "kernel":
		err = g.startKernel(ctx, lab, s)
	default:
		return nil, fmt.Errorf("no subject %q", name)
	}
	if err != nil {
		s.stop()
		return nil, fmt.Errorf("subject %s: %w", name, err)
	}
	s.route.Proxy = socks
	return s, nil
}

// startMpsocks runs both halves with the configuration that init writes, changed where the lab must.
func (g stage) startMpsocks(ctx context.Context, lab *netlab.Lab, p *profiles.Profile, s *subject, only string) error {
	dir, err := os.MkdirTemp(g.dir, "halves-")
	if err != nil {
		return err
	}
	address := netip.AddrPortFrom(netlab.Server, 7443)
	out, err := exec.CommandContext(ctx, g.binary, "init", "--server", address.String(), "--dir", dir).CombinedOutput()
	if err != nil {
		return fmt.Errorf("mpsocks init: %w: %s", err, out)
	}
	var paths []map[string]any
	for i, q := range p.Paths {
		if only != "" && q.Name != only {
			continue
		}
		entry := map[string]any{"name": q.Name, "bind": g.bind(lab.Path(q.Name), i)}
		if q.Metered {
			entry["metered"] = true
		}
		paths = append(paths, entry)
	}
	if len(paths) == 0 {
		return fmt.Errorf("no path %q", only)
	}
	level := "warn"
	if g.verbose {
		level = "info"
	}
	client, server := filepath.Join(dir, "client.yaml"), filepath.Join(dir, "server.yaml")
	common := map[string]any{"mode": g.mode, "log": map[string]any{"level": level, "format": "console"}}
	if err := g.reach(client); err != nil {
		return err
	}
	if err := g.edit(client, common, map[string]any{"listen": []string{socks.String()}, "paths": paths, "admin": adminAddrs[0]}); err != nil {
		return err
	}
	// The world is in the server's namespace, so that its addresses are the server's own.
	world := map[string]any{"allow": []string{netlab.World.String(), netlab.World6.String()}}
	if err := g.edit(server, common, map[string]any{"listen": []string{":7443"}, "admin": adminAddrs[1], "relay": world}); err != nil {
		return err
	}
	s.admin = true
	if err := g.half(lab.World, s, 1, "server", g.binary, "server", "-c", server); err != nil {
		return err
	}
	return g.half(lab.Client, s, 0, "client", g.binary, "client", "-c", client)
}

// bind is what the i-th path is bound to: its device, or, with both families, the address
// that it has of its own one.
func (g stage) bind(p *netlab.Path, i int) string {
	switch {
	case g.family != "46":
		return p.Name
	case i%2 == 0:
		return p.ClientAddr().String()
	}
	return p.ClientAddr6().String()
}

// reach has the client look for the server at addresses of the family.
func (g stage) reach(file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	all := map[string]any{}
	if err := yaml.Unmarshal(b, &all); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	server, ok := all["server"].(map[string]any)
	if !ok {
		return fmt.Errorf("%s: no server", file)
	}
	var at []string
	for family, addr := range map[string]netip.Addr{"4": netlab.Server, "6": netlab.Server6} {
		if strings.Contains(g.family, family) {
			at = append(at, netip.AddrPortFrom(addr, 7443).String())
		}
	}
	slices.Sort(at) // an address with digits before one in brackets
	server["addresses"] = at
	if b, err = yaml.Marshal(all); err != nil {
		return err
	}
	return os.WriteFile(file, b, 0o600)
}

// edit puts the changes over the top-level keys of a configuration file; -set has the last word.
func (g stage) edit(file string, changes ...map[string]any) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	all := map[string]any{}
	if err := yaml.Unmarshal(b, &all); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	extra := map[string]any{}
	if err := yaml.Unmarshal([]byte(g.set), &extra); err != nil {
		return fmt.Errorf("-set: %w", err)
	}
	for _, c := range append(changes, extra) {
		maps.Copy(all, c)
	}
	if b, err = yaml.Marshal(all); err != nil {
		return err
	}
	return os.WriteFile(file, b, 0o600)
}

// startKernel runs the kernel MPTCP baseline, and gives the kernel all paths.
func (g stage) startKernel(ctx context.Context, lab *netlab.Lab, s *subject) error {
	for _, n := range []*netlab.Namespace{lab.Client, lab.World} {
		if err := n.Run(ctx, "ip", "mptcp", "limits", "set", "subflows", "8", "add_addr_accepted", "8"); err != nil {
			return err
		}
	}
	for _, p := range lab.Paths {
		if err := lab.Client.Run(ctx, "ip", "mptcp", "endpoint", "add", p.ClientAddr().String(), "dev", p.Name, "subflow"); err != nil {
			return err
		}
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	address := netip.AddrPortFrom(netlab.Server, 7444).String()
	if err := g.half(lab.World, s, 1, "server", self, baseline.ServerCommand, address); err != nil {
		return err
	}
	return g.half(lab.Client, s, 0, "client", self, baseline.ClientCommand, socks.String(), address)
}

// half starts one half in its namespace. It dies with the lab; its log goes to our standard error if -v says so, and
// its end before stop is an error of the measurement.
func (g stage) half(n *netlab.Namespace, s *subject, i int, name, program string, args ...string) error {
	cmd := exec.Command(program, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt at the terminal is ours to pass on
	log := &prefixed{name: fmt.Sprintf("%s %s", s.name, name), show: g.verbose}
	cmd.Stdout, cmd.Stderr = log, log
	if err := n.Start(cmd); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	s.half[i] = cmd
	go func() { // ends with the process, which stop kills
		err := cmd.Wait()
		s.errs <- fmt.Errorf("the %s ended: %v: %s", name, err, log.last())
	}()
	return nil
}

// ready waits until datagrams come back through the proxy, and then until the other paths have joined and set-up traffic
// has calmed down.
func (s *subject) ready(ctx context.Context, w *loads.World, p *profiles.Profile) error {
	if s.half[0] == nil {
		return nil
	}
	deadline := time.Now().Add(15 * time.Second)
	for {
		probe := loads.Datagrams{Name: "probe", Rate: 100, Size: 64, Direction: loads.Echo, Duration: 100 * time.Millisecond}
		r, err := w.Datagrams(ctx, s.route, probe)
		if err == nil && r.Lost < r.Sent {
			break
		}
		select {
		case dead := <-s.errs:
			return dead
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("nothing comes back through the proxy after 15 s: %w", errors.Join(err, errors.New("see -v")))
		}
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Second + joinTrips*p.Longest()):
		return nil
	}
}

// joinTrips is how many round trips a subflow takes from its connect to its first use: TCP, TLS, and two of MP_JOIN (RFC
// 8684, Section 3.2). The path alone is waited for as well, by its first datagram.
const joinTrips = 4

// cpu is the processor time of the client and the server so far.
func (s *subject) cpu() (client, server time.Duration) {
	if s.half[0] != nil {
		client = netlab.ProcessCPU(s.half[0].Process.Pid)
	}
	if s.half[1] != nil {
		server = netlab.ProcessCPU(s.half[1].Process.Pid)
	}
	return client, server
}

// openAccounts begins to count what the halves take of the kernel.
func (s *subject) openAccounts() error {
	for i, c := range s.half {
		if c == nil {
			continue
		}
		if err := s.accounts[i].open(c.Process.Pid); err != nil {
			return err
		}
	}
	return nil
}

func (s *subject) closeAccounts() {
	for i := range s.accounts {
		s.accounts[i].close()
		s.accounts[i] = account{}
	}
}

// stop ends both halves, kindly first.
func (s *subject) stop() {
	n := 0
	for _, c := range s.half {
		if c != nil {
			_ = c.Process.Signal(syscall.SIGTERM)
			n++
		}
	}
	late := time.After(2 * time.Second)
	for range n {
		select {
		case <-s.errs:
		case <-late:
			for _, c := range s.half {
				if c != nil {
					_ = c.Process.Kill()
				}
			}
			late = nil // killed processes always report
			<-s.errs
		}
	}
}
