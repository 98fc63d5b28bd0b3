//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/mpsocks/mpsocks/integration/bench/halves"
)

// Other people's tunnel, in two settings: shadowsocks of 2022, which encrypts, and
// shadowsocks without encryption. Datagrams go over TCP in both, as they do in ours.
const (
	singBox2022 = "sing-box ss2022"
	singBoxNone = "sing-box none"
)

// methods are sing-box's names of the settings, and a key for each.
var methods = map[string]struct{ method, password string }{
	singBox2022: {"2022-blake3-aes-128-gcm", "AAAAAAAAAAAAAAAAAAAAAA=="}, // of 16 bytes
	singBoxNone: {"none", "none"},
}

// object is one of a configuration.
type object = map[string]any

// singBox starts both halves of sing-box in one of its settings. An association with it
// needs no more of either half than a CONNECT: one connection.
func (w *world) singBox(name string) (*system, error) {
	free, err := halves.FreePorts(2)
	if err != nil {
		return nil, err
	}
	w.runs++
	dir := filepath.Join(w.dir, fmt.Sprint("run", w.runs))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	local, tunnel, m := free[0], free[1], methods[name]
	quiet := object{"level": "error"}
	files := map[string]object{
		"server.json": {
			"log": quiet,
			"inbounds": []object{{
				"type": "shadowsocks", "listen": tunnel.Addr(), "listen_port": tunnel.Port(), "method": m.method, "password": m.password,
			}},
			"outbounds": []object{{"type": "direct"}},
		},
		"client.json": {
			"log":      quiet,
			"inbounds": []object{{"type": "socks", "listen": local.Addr(), "listen_port": local.Port()}},
			"outbounds": []object{{
				"type": "shadowsocks", "server": tunnel.Addr(), "server_port": tunnel.Port(), "method": m.method, "password": m.password,
				"udp_over_tcp": object{"enabled": true, "version": 2},
			}},
		},
	}
	for file, content := range files {
		b, err := json.Marshal(content)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, file), b, 0o600)
		}
		if err != nil {
			return nil, err
		}
	}
	server, err := halves.Run(w.singbox, "run", "-c", filepath.Join(dir, "server.json"), "-D", dir)
	if err != nil {
		return nil, err
	}
	client, err := halves.Run(w.singbox, "run", "-c", filepath.Join(dir, "client.json"), "-D", dir)
	if err != nil {
		server.Kill()
		return nil, err
	}
	s := &system{name: name, proxy: local.String(), pids: []int{client.PID(), server.PID()}, stop: func() {
		client.Kill()
		server.Kill()
	}}
	if err := errors.Join(awaitTCP(local.String(), client), awaitTCP(tunnel.String(), server)); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

// awaitTCP waits until a process accepts connections at an address.
func awaitTCP(address string, p *halves.Process) error {
	for end := time.Now().Add(15 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", address)
		if err == nil {
			return c.Close()
		}
		select {
		case <-p.Done():
			return fmt.Errorf("it ended, and said: %s", p.Output())
		default:
		}
		if time.Now().After(end) {
			return fmt.Errorf("%w; it said: %s", err, p.Output())
		}
	}
}

// A Ratio is what ours is over another system, in one measurement, by the rounds: of
// rates more is better, of times less.
type Ratio struct {
	Name, Metric, Over string
	Figures            samples
}

// pairs are the metrics of both halves that belong together, and what their sum is called.
var pairs = map[string]struct{ server, both string }{
	cpuClient: {cpuServer, "CPU-s/M"}, gbClient: {gbServer, "CPU-s/GB"}, msClient: {msServer, "CPU-ms each"}, usClient: {usServer, "CPU-us each"},
}

// ratios are those of what counts, for everything that is there of ours and of another
// system.
func ratios(results []*Result) (all []Ratio) {
	for _, r := range results {
		for _, metric := range r.Metrics {
			name, of := metric, func(system string) samples { return r.get(system, metric) }
			switch metric {
			case kpps, mbits, p50, p99, rate, restedClient, restedServer:
			case cpuClient, gbClient, msClient, usClient:
				pair := pairs[metric]
				name, of = pair.both, func(system string) samples { return r.get(system, metric).plus(r.get(system, pair.server)) }
			default:
				continue
			}
			for _, row := range r.Rows {
				if f := of(ours).over(of(row.System)); row.System != ours && len(f) > 0 {
					all = append(all, Ratio{r.Name, name, row.System, f})
				}
			}
		}
	}
	return all
}
