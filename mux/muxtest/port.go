package muxtest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
)

// FreePort is a TCP port that nobody has in either family, and that the system gives nobody
// who asks for none in particular; the error says why there is none.
func FreePort() (uint16, error) {
	l, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		return 0, fmt.Errorf("no IPv6 here: %w", err)
	}
	l.Close()
	for range 100 {
		probe, err := net.Listen("tcp", fmt.Sprintf("[::]:%d", 20000+rand.N(10000)))
		if err == nil {
			defer probe.Close()
			return probe.Addr().(*net.TCPAddr).AddrPort().Port(), nil
		}
	}
	return 0, errors.New("no port of both families can be had here")
}
