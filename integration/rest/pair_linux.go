package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/mpsocks/mpsocks/admin"
	"github.com/mpsocks/mpsocks/integration/netlab"
	"github.com/mpsocks/mpsocks/status"
)

// halfNames are the halves, and where each tells its status, in its namespace.
var (
	halfNames  = [2]string{"client", "server"}
	adminAddrs = [2]string{"127.0.0.1:9081", "127.0.0.1:9082"}
)

// A pair is both halves, running.
type pair struct {
	half  [2]*exec.Cmd
	state string // directory
	http  http.Client
}

// start runs both halves and waits until all paths are up.
func (o *options) start(ctx context.Context, lab *netlab.Lab, dir string) (p *pair, err error) {
	at := netip.AddrPortFrom(netlab.Server, 7443)
	if out, err := exec.CommandContext(ctx, o.binary, "init", "--server", at.String(), "--dir", dir).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("mpsocks init: %w: %s", err, out)
	}
	p = &pair{state: filepath.Join(dir, "state")}
	p.http.Transport = &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		return lab.Client.Dial(ctx, network, netip.Addr{}, netip.MustParseAddrPort(addr))
	}, DisableKeepAlives: true}
	defer func() {
		if err != nil {
			p.stop()
		}
	}()
	var paths []map[string]any
	for _, w := range ways {
		path := map[string]any{"name": w.name, "bind": w.name}
		maps.Copy(path, w.extra)
		paths = append(paths, path)
	}
	places := [2]*netlab.Namespace{lab.Client, lab.World}
	for _, i := range []int{1, 0} {
		file := filepath.Join(dir, halfNames[i]+".yaml")
		changes := map[string]any{"admin": adminAddrs[i], "state_dir": p.state}
		if i == 0 {
			changes["listen"], changes["paths"] = []string{"127.0.0.1:1080"}, paths
		}
		if err := edit(file, changes); err != nil {
			return p, err
		}
		cmd := exec.Command(o.binary, halfNames[i], "-c", file)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if o.verbose {
			cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
		}
		if err := places[i].Start(cmd); err != nil {
			return p, err
		}
		p.half[i] = cmd
	}
	for limit := time.Now().Add(15 * time.Second); ; {
		s, err := p.status(ctx)
		up := 0
		if err == nil && s.Session != nil {
			for _, w := range s.Session.Paths {
				if w.Subflows > 0 && (w.State == status.Up || w.State == status.Resting) {
					up++
				}
			}
		}
		if up == len(ways) {
			return p, nil
		}
		if time.Now().After(limit) {
			return p, fmt.Errorf("%d of %d paths are up after 15 s: %w", up, len(ways), errors.Join(err, ctx.Err()))
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return p, err
		}
	}
}

// edit puts changes over the top-level keys of a configuration file.
func edit(file string, changes map[string]any) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	all := map[string]any{}
	if err := yaml.Unmarshal(b, &all); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	maps.Copy(all, changes)
	if b, err = yaml.Marshal(all); err != nil {
		return err
	}
	return os.WriteFile(file, b, 0o600)
}

// stop ends both halves.
func (p *pair) stop() {
	for _, c := range p.half {
		if c != nil {
			_ = c.Process.Signal(syscall.SIGTERM)
			_ = c.Wait() // how it ended does not matter here
		}
	}
}

// status asks the client.
func (p *pair) status(ctx context.Context) (s status.Status, err error) {
	token, err := admin.ReadToken(p.state)
	if err != nil {
		return s, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+adminAddrs[0]+"/status", nil)
	if err != nil {
		return s, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := p.http.Do(req)
	if err != nil {
		return s, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(b, &s)
}

// kill makes the paths swallow everything, from the last to the first, and waits each
// time until the client's status says that the path is dead.
func (p *pair) kill(ctx context.Context, lab *netlab.Lab) (missed []error) {
	for i := len(ways) - 1; i >= 0; i-- {
		name := ways[i].name
		if err := lab.Path(name).SetBlackHole(true); err != nil {
			return append(missed, err)
		}
		begin := time.Now()
		for {
			if err := pause(ctx, 250*time.Millisecond); err != nil {
				return append(missed, err)
			}
			s, err := p.status(ctx)
			if err != nil {
				return append(missed, err)
			}
			if s.Session != nil && isDead(s.Session.Paths, name) {
				break
			}
			if time.Since(begin) > deathMost {
				missed = append(missed, fmt.Errorf("path %s is dead for %v and status does not say so", name, deathMost))
				break
			}
		}
		fmt.Printf("path %-4s dies in silence: status says so after %.1f s (bar %.0f)\n", name, time.Since(begin).Seconds(), deathMost.Seconds())
	}
	return missed
}

func isDead(paths []status.Path, name string) bool {
	for i := range paths {
		if paths[i].Name == name {
			return paths[i].State == status.Dead || paths[i].State == status.Stalled
		}
	}
	return false
}

// A reading is all counters at one time.
type reading struct {
	at             time.Time
	bytes, packets []int64 // by way, both directions
	switches       [2]int64
	cpu            [2]time.Duration
}

func read(lab *netlab.Lab, p *pair) (r reading, err error) {
	r.at = time.Now()
	for _, w := range ways {
		var n [4]int64
		for i, counter := range []string{"rx_bytes", "tx_bytes", "rx_packets", "tx_packets"} {
			if n[i], err = count(lab, w.name, counter); err != nil {
				return r, err
			}
		}
		r.bytes, r.packets = append(r.bytes, n[0]+n[1]), append(r.packets, n[2]+n[3])
	}
	for i, c := range p.half {
		r.cpu[i] = netlab.ProcessCPU(c.Process.Pid)
		if r.switches[i], err = switches(c.Process.Pid); err != nil {
			return r, err
		}
	}
	return r, nil
}

// count reads a counter of a device at the client: /sys shows those of the namespace in
// which it was mounted, so /proc/net/dev of a thread in there is read.
func count(lab *netlab.Lab, device, counter string) (n int64, err error) {
	column := map[string]int{"rx_bytes": 0, "rx_packets": 1, "tx_bytes": 8, "tx_packets": 9}[counter]
	err = lab.Client.Do(func() error {
		b, err := os.ReadFile("/proc/thread-self/net/dev")
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(b)) {
			if name, rest, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && name == device {
				n, err = strconv.ParseInt(strings.Fields(rest)[column], 10, 64)
				return err
			}
		}
		return fmt.Errorf("no device %s", device)
	})
	return n, err
}

// switches are the context switches of all threads of a process.
func switches(pid int) (n int64, err error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil {
		return 0, err
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue // the thread has ended
		}
		for line := range strings.Lines(string(b)) {
			if name, v, ok := strings.Cut(line, ":"); ok && strings.HasSuffix(name, "ctxt_switches") {
				k, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
				if err != nil {
					return 0, err
				}
				n += k
			}
		}
	}
	return n, nil
}
