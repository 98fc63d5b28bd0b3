package client

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/mpsocks/mpsocks/client/routing"
	"github.com/mpsocks/mpsocks/client/tun"
	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/errno"
)

// needsMark says whether subflows have to be known by a mark.
const needsMark = true

// machineDevice is the TUN device of a machine. Its machine guards what is not set once.
type machineDevice struct {
	name    string
	file    *os.File
	routing *routing.Machine
	life    context.Context // ends when it is not wanted any more
	end     context.CancelFunc
	done    chan struct{} // closed when all is undone

	device *tun.Device // nil before it is served
	failed bool        // it could not be made
	led    atomic.Bool // traffic has been led to it
}

// openMachine makes a device.
func openMachine(cfg *conf.TUN) (*machineDevice, error) {
	file, name, err := tun.Create(cfg.Device)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, errno.Advise(err, "as root, modprobe tun (in a container, give it /dev/net/tun)")
	case errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EPERM):
		return nil, errno.Advise(err, "it takes root, or CAP_NET_ADMIN (AmbientCapabilities= in the unit) and access to /dev/net/tun")
	case errors.Is(err, unix.EBUSY):
		return nil, errno.Advise(err, "another program has it")
	case err != nil:
		return nil, err
	}
	d := &machineDevice{name: name, file: file, routing: routing.New(name), done: make(chan struct{})}
	d.life, d.end = context.WithCancel(context.Background())
	return d, nil
}

// called says whether a device has a name of the configuration.
func (d *machineDevice) called(name string) bool { return d.name == name }

// close lets the device go, with the routes that lead to it.
func (d *machineDevice) close() {
	d.end()
	d.file.Close()
}

// serve carries packets until ctx ends (nil) or the device does.
func (d *machineDevice) serve(ctx context.Context, c *Client, ready func(*tun.Device)) error {
	return c.serveDevice(ctx, d.file, Program{Name: conf.TUNUser}, ready)
}

// route has the routing be as a configuration says, whatever others have made of it
// since; around, that nothing is led here.
func (d *machineDevice) route(c *Client, cfg conf.TUN, around bool) error {
	if around {
		return d.routing.Undo()
	}
	s := routing.Settings{TUN: cfg, Mark: c.mark, Asking: c.mux != nil && len(servers(c)) == 0 && routing.AsksHere()}
	if routing.Strict(d.name) != "" {
		s.Servers = slices.DeleteFunc(servers(c), netip.Addr.Is6) // IPv6 has no such filter
	}
	if err := d.routing.Set(s); err != nil {
		return err
	}
	d.device.CaptureNames(captured(&cfg))
	return nil
}

// undo takes the routing back.
func (d *machineDevice) undo() error { return d.routing.Undo() }
