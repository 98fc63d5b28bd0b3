package cli

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/errno"
	"github.com/mpsocks/mpsocks/server"
)

// hindrances are the settings with which a half does not start on this machine as it is now.
func hindrances(cfg any) (out []string) {
	foreign := func(key string, i int, a netip.AddrPort) {
		if !here(a.Addr()) {
			out = append(out, fmt.Sprintf("%s[%d]: this machine does not have the address %s now: nothing starts here with that", key, i, a.Addr()))
		}
	}
	switch c := cfg.(type) {
	case *conf.Client:
		for i, a := range c.Listen {
			foreign("listen", i, a)
		}
	case *conf.Server:
		for i, l := range c.Listen {
			foreign("listen", i, l.Address)
		}
		if err := server.Binds(c); err != nil {
			out = append(out, err.Error()+": the server does not start here with that")
		}
	}
	return out
}

// here says whether sockets may be bound to an address, as far as that can be told.
func here(a netip.Addr) bool {
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, 0)))
	if err != nil {
		number, ok := errors.AsType[syscall.Errno](err)
		return !ok || number != errno.AddrNotAvail
	}
	c.Close()
	return true
}
