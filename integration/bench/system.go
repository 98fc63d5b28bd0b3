//go:build linux

package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/mpsocks/mpsocks/integration/bench/halves"
)

// The systems that are measured side by side.
const (
	direct  = "direct"      // no proxy at all: what the kernel and the generator allow
	plain   = "plain TCP"   // the minimal three-socket relay
	tlsCopy = "TLS io.Copy" // one TLS connection per stream, io.Copy on both sides
	ours    = "mpsocks"
	oursOne = "mpsocks 1x6" // one path of six subflows
	// As sing-box, it answers a CONNECT before the destination is reached (early_reply).
	oursEarly = "mpsocks early"
)

// A system is one way for traffic, running.
type system struct {
	name   string
	proxy  string         // SOCKS address; empty: none
	target netip.AddrPort // where bulk streams go when there is no proxy
	pids   []int          // client half, server half; empty for direct
	pair   *halves.Pair   // ours, and ours on one path
	stop   func()
}

// world is everything that runs while measurements are made.
type world struct {
	bin     string // mpsocks; empty when it is not measured
	singbox string // sing-box; empty when it is not
	dir     string // for configurations, removed at the end
	echo    netip.AddrPort
	bulk    netip.AddrPort
	tiny    netip.AddrPort // TCP echo of small connections
	load    *child
	all     map[string]*system // started so far
	only    map[string]bool    // systems wanted
	stops   []func()
	runs    int // of mpsocks, for names of directories
}

func newWorld(bin string, only map[string]bool) (*world, error) {
	w := &world{bin: bin, only: only, all: map[string]*system{}}
	var err error
	if w.dir, err = os.MkdirTemp("", "mpsocks-bench-"); err != nil {
		return nil, err
	}
	start := func(role string) (*child, []netip.AddrPort) {
		if err != nil {
			return nil, nil
		}
		var c *child
		var served []netip.AddrPort
		if c, served, err = startChild(role); err == nil {
			w.stops = append(w.stops, c.stop)
		}
		return c, served
	}
	_, udp := start("udp-echo")
	_, tcp := start("tcp-target")
	w.load, _ = start("load")
	if err != nil {
		w.close()
		return nil, err
	}
	w.echo, w.bulk, w.tiny = udp[0], tcp[0], tcp[1]
	return w, nil
}

// close ends everything, the youngest first.
func (w *world) close() {
	w.retire()
	for i := len(w.stops) - 1; i >= 0; i-- {
		w.stops[i]()
	}
	_ = os.RemoveAll(w.dir)
}

// retire ends all systems; those wanted again are started anew.
func (w *world) retire() {
	for name, s := range w.all {
		s.stop()
		delete(w.all, name)
	}
}

// systems returns the named ones that are wanted, started when they were not;
// they stay up until the end, idle while others are measured.
func (w *world) systems(names ...string) ([]*system, error) {
	var found []*system
	for _, name := range names {
		if !w.only[name] {
			continue
		}
		if w.all[name] == nil {
			s, err := w.start(name)
			if err != nil {
				return nil, err
			}
			w.all[name] = s
		}
		found = append(found, w.all[name])
	}
	return found, nil
}

// start starts a fresh instance of a system; the caller stops it.
func (w *world) start(name string) (*system, error) {
	switch name {
	case direct:
		return &system{name: name, target: w.bulk, stop: func() {}}, nil
	case plain:
		return startTwo(name, "relay-server", "relay-client", nil)
	case tlsCopy:
		return startTwo(name, "tls-server", "tls-client", []string{w.bulk.String()})
	case singBox2022, singBoxNone:
		return w.singBox(name)
	}
	w.runs++
	paths := halves.TwoPaths()
	if name == oursOne {
		paths = []halves.Path{{Name: "one", Bind: "127.0.0.1", Subflows: 6}}
	}
	more := ""
	if name == oursEarly {
		more = "early_reply: true\n"
	}
	pair, err := halves.Start(w.bin, halves.Config{
		Dir:    filepath.Join(w.dir, fmt.Sprint("run", w.runs)),
		Paths:  paths,
		Allow:  []string{"127.0.0.0/8"},
		Admin:  true,
		Client: more,
	})
	if err != nil {
		return nil, err
	}
	return &system{name: name, proxy: pair.Proxy(), pids: pair.PIDs(), pair: pair, stop: pair.Kill}, nil
}

// startTwo starts both halves of a yardstick.
func startTwo(name, serverRole, clientRole string, args []string) (*system, error) {
	server, at, err := startChild(serverRole, args...)
	if err != nil {
		return nil, err
	}
	client, local, err := startChild(clientRole, at[0].String())
	if err != nil {
		server.stop()
		return nil, err
	}
	s := &system{name: name, pids: []int{client.pid(), server.pid()}, stop: func() {
		client.stop()
		server.stop()
	}}
	if name == plain {
		s.proxy = local[0].String()
	} else {
		s.target = local[0]
	}
	return s, nil
}
