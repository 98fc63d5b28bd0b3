package mux

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/mux/capture"
	"github.com/mpsocks/mpsocks/mux/engine"
	"github.com/mpsocks/mpsocks/mux/mptcp"
)

// Whoever sets other paths while Run begins has the last word.
func TestPathsAreSetAsRunBegins(t *testing.T) {
	_, key, _ := ed25519.GenerateKey(nil)
	_, server, _ := ed25519.GenerateKey(nil)
	path := func(name string) []Path {
		return []Path{{Name: name, Local: netip.MustParseAddr("127.0.0.1"), Subflows: 1}}
	}
	for range 50 {
		c, err := NewClient(ClientConfig{
			Key: key, ServerKey: server.Public().(ed25519.PublicKey), Handler: newCollector(),
			Addresses: []string{"127.0.0.1:1"}, Paths: path("old"), Log: zerolog.Nop(),
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); c.Run(ctx) }()
		for c.running() == nil {
			runtime.Gosched()
		}
		c.SetPaths(path("new"))
		cancel()
		<-done
		if got := c.list(); len(got) != 1 || got[0].way.Name != "new" {
			t.Fatalf("%d paths, the first is %q", len(got), got[0].way.Name)
		}
	}
}

// All paths together fit into a session, unless they are given numbers that do not.
func TestAutoShare(t *testing.T) {
	paths := func(n int, given ...int) []Path {
		p := make([]Path, n)
		for _, g := range given {
			p = append(p, Path{Subflows: g})
		}
		return p
	}
	for _, c := range []struct {
		name  string
		paths []Path
		want  int
	}{
		{"one", paths(1), 6},
		{"ten", paths(10), 6},
		{"eleven", paths(11), 5},
		{"sixteen", paths(16), 3},
		{"one beside fifteen thin ones", paths(1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1), 6},
		{"four beside a fat one", paths(4, 50), 3},
		{"no room", paths(2, 63), 1},
		{"none", paths(0, 6, 6), 6},
	} {
		if got := autoShare(c.paths); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// A path that is not there now keeps its share, or all others would begin anew.
func TestAutoIsSteady(t *testing.T) {
	c := &Client{auto: autoSubflows}
	all := make([]Path, 12)
	if got := c.spread(all)[0].Subflows; got != 5 {
		t.Errorf("%d subflows on each of twelve paths", got)
	}
	if got := c.spread(all[:2])[0].Subflows; got != 5 {
		t.Errorf("%d subflows on each of twelve paths, of which two are there", got)
	}
	if all[0].Subflows != 0 {
		t.Error("the caller's paths were changed")
	}
	if got := c.spread(nil); len(got) != 1 || got[0].Interface != "" {
		t.Errorf("no paths are %+v", got)
	}
}

// locals lists the client's subflows by their own addresses.
func (n *loopTunnel) locals() (l []netip.AddrPort) {
	for _, f := range n.client.Session().Snapshot().Subflows {
		l = append(l, f.Local)
	}
	slices.SortFunc(l, netip.AddrPort.Compare)
	return l
}

// Paths come, change and go while packets are sent: none is lost, and what did not
// change keeps its subflows.
func TestSetPaths(t *testing.T) {
	file := filepath.Join(t.TempDir(), "server.pcapng")
	shown := new(capture.Capture)
	if err := shown.Begin(file); err != nil {
		t.Fatal(err)
	}
	n := newLoopTunnel(t, 2, 2, func(_ *ClientConfig, l *ListenerConfig) { l.Capture = shown })
	at := func(i byte) netip.Addr { return netip.AddrFrom4([4]byte{127, 0, 0, i}) }
	paths := slices.Clone(n.client.cfg.Paths)
	set := func(p ...Path) { n.client.SetPaths(p) }
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		n.send(3000, 2000, 200, nil)
	}()

	third := Path{Name: "path2", Local: at(3), Subflows: 1}
	before := n.locals()
	set(paths[0], paths[1], third)
	n.waitSubflows(5)
	eventually(t, "the server has the new path", func() bool { c, b := n.subflowsFrom(at(3)); return c == 1 && b == 0 })
	for _, a := range before {
		if !slices.Contains(n.locals(), a) {
			t.Errorf("%v was dialled anew when a path came", a)
		}
	}

	before = n.locals()
	change := func(what string, backup bool, change func(*Path)) {
		t.Helper()
		p := paths[1]
		change(&p)
		set(paths[0], p, third)
		want := 0
		if p.Backup || p.Metered {
			want = 2
		}
		eventually(t, what+": the server knows it", func() bool { c, b := n.subflowsFrom(at(2)); return c == 2 && b == want })
		for _, f := range n.client.Session().Snapshot().Subflows {
			if f.Path == p.Name && f.Backup != backup {
				t.Errorf("%s: backup is %v on a subflow of the client", what, f.Backup)
			}
		}
	}
	change("backup", true, func(p *Path) { p.Backup = true })
	change("good again", false, func(*Path) {})
	change("metered", false, func(p *Path) { p.Metered = true })
	change("backup instead", true, func(p *Path) { p.Backup = true })
	change("metered again", false, func(p *Path) { p.Metered = true })
	if after := n.locals(); !slices.Equal(before, after) {
		t.Errorf("a change dialled anew: %v, then %v", before, after)
	}

	s := n.client.Session()
	var withdrawn mptcp.RemoveAddr
	s.enter(func(e *engine.Engine, _ int64) {
		withdrawn = mptcp.RemoveAddr{N: 1, IDs: [mptcp.MaxRemove]uint8{e.Paths()[2].AddrID()}}
	})
	set(paths[:2]...)
	n.waitSubflows(4)
	eventually(t, "the server lost the path", func() bool { c, _ := n.subflowsFrom(at(3)); return c == 0 })
	if len(s.Snapshot().Paths) != 2 {
		t.Errorf("paths %+v", s.Snapshot().Paths)
	}

	<-sent
	n.far.wait(t, 3000)
	n.near.wait(t, 3000)
	n.stopC()
	<-n.clientDone
	n.stopL()
	<-n.listenerDone
	if err := shown.Close(); err != nil {
		t.Fatal(err)
	}
	seen, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(seen, withdrawn.Append(nil)) {
		t.Error("the server saw no REMOVE_ADDR")
	}
}
