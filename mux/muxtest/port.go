package muxtest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
)

// Below the ports that systems give to outgoing connections: one of those could take a port
// between the look at it and its use.
const firstPort, lastPort = 15000, 31999

var given struct {
	mu    sync.Mutex // guards ports
	ports map[uint16]bool
}

// FreePort is a port that nobody has at any address of this machine, neither of TCP nor of
// UDP. A process gets none twice before it has had half of them.
func FreePort() (uint16, error) { return FreeRange(1) }

// FreeRange is the first of n such ports in a row.
func FreeRange(n int) (uint16, error) {
	given.mu.Lock()
	defer given.mu.Unlock()
	if given.ports == nil || len(given.ports) > (lastPort-firstPort)/2 {
		given.ports = make(map[uint16]bool)
	}
	for range 1000 {
		first := firstPort + rand.N(lastPort-firstPort+2-n)
		run := make([]uint16, n)
		for i := range run {
			run[i] = uint16(first + i)
		}
		if slices.ContainsFunc(run, func(port uint16) bool { return given.ports[port] || !free(port) }) {
			continue
		}
		for _, port := range run {
			given.ports[port] = true
		}
		return run[0], nil
	}
	return 0, errors.New("no free port can be had here")
}

// free says whether the port can be bound in all families that there are.
func free(port uint16) bool {
	at := fmt.Sprintf(":%d", port)
	l, err := net.Listen("tcp", at)
	if err != nil {
		return false
	}
	defer l.Close()
	u, err := net.ListenPacket("udp", at)
	if err != nil {
		return false
	}
	u.Close()
	return true
}

// HasIPv6 says whether this machine has an IPv6 loopback.
func HasIPv6() bool {
	l, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		return false
	}
	l.Close()
	return true
}
