package client

import (
	"io"
	"net/netip"
	"os"
	"slices"
	"sync"

	"github.com/mpsocks/mpsocks/mux/resolvconf"
)

const (
	// maxServers bounds how many name servers are remembered, and maxResolvConf how much of
	// the file is read.
	maxServers    = 64
	maxResolvConf = 64 << 10
)

// nameServers are those that this machine's resolv.conf names, or has named since the first
// question. A program in a network of its own finds another file in its place, until somebody
// puts a new one there, as network managers do whenever the network is another: that uncovers
// it, also for a program that runs. What it names is no use from the exit, being a router, or
// a provider's for its own customers; so the tunnel's resolver answers in their place.
type nameServers struct {
	file string // set once

	mu   sync.Mutex // guards the rest
	seen os.FileInfo
	list []netip.Addr // the newest last
}

// named says whether a is one of them. It looks at the file if a is not known.
func (n *nameServers) named(a netip.Addr) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if slices.Contains(n.list, a) {
		return true
	}
	s, err := os.Stat(n.file)
	if err != nil || n.seen != nil && os.SameFile(s, n.seen) && s.ModTime().Equal(n.seen.ModTime()) && s.Size() == n.seen.Size() {
		return false
	}
	n.seen = s
	n.read()
	return slices.Contains(n.list, a)
}

// read adds what the file names; the caller holds n.mu.
func (n *nameServers) read() {
	f, err := os.Open(n.file)
	if err != nil {
		return
	}
	defer f.Close()
	b, _ := io.ReadAll(io.LimitReader(f, maxResolvConf)) // what could be read counts
	for _, a := range resolvconf.Parse(string(b)).Servers {
		if a = a.Unmap().WithZone(""); !slices.Contains(n.list, a) {
			n.list = append(n.list, a)
		}
	}
	n.list = slices.Delete(n.list, 0, max(0, len(n.list)-maxServers))
}
