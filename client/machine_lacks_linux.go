package client

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/mpsocks/mpsocks/client/routing"
	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/resolvconf"
)

// TidyRouting removes what a client that was killed has left of its routing.
func TidyRouting(log zerolog.Logger) {
	left := RoutingLeft()
	if len(left) == 0 {
		return
	}
	if err := routing.Clean(); err != nil {
		log.Warn().Strs("left", left).Err(err).Msg("a client that was killed has left rules behind, which refuse traffic: ip rule flush protocol 109 and ip -6 rule flush protocol 109, as root, remove them")
		return
	}
	log.Info().Strs("left", left).Msg("removed what a client that was killed has left behind")
}

// RoutingLeft says in words what a client that was killed has left of its routing.
func RoutingLeft() []string {
	left, err := routing.Left()
	if err != nil {
		return nil // what cannot be read is not said to be there
	}
	return left
}

// CanMark says whether this process may give sockets a mark.
func CanMark(mark uint32) bool {
	if mark == 0 {
		return true
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return true // not known
	}
	defer unix.Close(fd)
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(mark)) == nil
}

// TUNLacks lists what a device needs of this machine and does not find.
func TUNLacks(t *conf.TUN) (out []Lack) {
	f, err := os.OpenFile("/dev/net/tun", os.O_RDWR|unix.O_CLOEXEC, 0)
	switch {
	case err == nil:
		f.Close()
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV):
		out = append(out, Lack{"there is no /dev/net/tun", "as root, modprobe tun; in a container, give it /dev/net/tun"})
	default:
		out = append(out, Lack{err.Error(), "run the client as root, or in its unit set PrivateDevices=no, and chmod 0666 /dev/net/tun where it is not so"})
	}
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&head, &caps[0]); err == nil && caps[0].Effective&(1<<unix.CAP_NET_ADMIN) == 0 {
		out = append(out, Lack{"this user may not set up devices and routes", "run the client as root, or with AmbientCapabilities=CAP_NET_ADMIN in its unit"})
	}
	return out
}

// TUNDoubts lists what of this machine's traffic may not go as a device's user expects.
func TUNDoubts(t *conf.TUN) (out []Lack) {
	for _, p := range routing.Covers(t) {
		out = append(out, Lack{fmt.Sprintf("%s, a network that this machine is part of, is led into the tunnel", p), "put it into tun.exclude"})
	}
	if strict := routing.Strict(t.Device); strict != "" && t.Everything() {
		out = append(out, Lack{
			"rp_filter of " + strict + " is strict: what is excluded by user or control group gets no answers, and the server's addresses are excluded for TCP",
			"sysctl -w net.ipv4.conf.all.rp_filter=2",
		})
	}
	if b, err := os.ReadFile(resolvconf.Path); err == nil && t.Everything() {
		out = append(out, namesDoubts(t, b)...)
	}
	return out
}

// namesDoubts says which of the system's name servers are asked outside the tunnel.
func namesDoubts(t *conf.TUN, file []byte) (out []Lack) {
	for _, a := range resolvconf.Parse(string(file)).Servers {
		switch near := a.IsPrivate() || a.IsLinkLocalUnicast(); {
		case a.IsLoopback() && !t.DNS:
			out = append(out, Lack{fmt.Sprintf("names are asked at %s, on this machine, which may ask further outside the tunnel", a), "set tun.dns: true"})
		case near && !t.DNS && t.LAN:
			out = append(out, Lack{fmt.Sprintf("names are asked at %s, in the local network, outside the tunnel", a), "set tun.dns: true, or a name server of the internet in /etc/resolv.conf"})
		case t.DNS && a == stubResolver && !routing.ResolvedHere():
			out = append(out, Lack{"systemd-resolved cannot be told of the device from here: it may ask for names outside the tunnel", "run the client as root; or link /etc/resolv.conf to a file with a name server of the internet"})
		}
	}
	return out
}

// stubResolver is where systemd-resolved is asked.
var stubResolver = netip.AddrFrom4([4]byte{127, 0, 0, 53})
