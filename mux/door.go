package mux

import (
	"context"
	"fmt"
	"net"
	"time"
)

// A door is one bound address.
type door struct {
	net.Listener
	at ListenAddr // as it was asked for
}

// bindDoors binds all of the addresses or none.
func bindDoors(addrs []ListenAddr) (doors []door, err error) {
	for _, a := range addrs {
		lc := net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}}
		lc.SetMultipathTCP(a.KernelMPTCP) // Go's default is on
		network := "tcp"
		if a.Addr.Addr().Is4() {
			network = "tcp4" // "tcp" would take 0.0.0.0 for all of IPv6 too
		}
		ln, err := lc.Listen(context.Background(), network, a.Addr.String())
		if err != nil {
			closeDoors(doors)
			return nil, fmt.Errorf("listen for clients on %s: %w", a.Addr, err)
		}
		doors = append(doors, door{ln, a})
	}
	return doors, nil
}

func closeDoors(doors []door) {
	for _, d := range doors {
		d.Close()
	}
}
