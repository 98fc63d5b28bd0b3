//go:build darwin || windows

package client

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"

	wireguard "golang.zx2c4.com/wireguard/tun"

	"github.com/mpsocks/mpsocks/client/tun"
	"github.com/mpsocks/mpsocks/conf"
)

// needsMark says whether subflows have to be known by a mark: here nothing is led to the
// device but by a person.
const needsMark = false

// machineDevice is the TUN device of a machine: utun of macOS, Wintun of Windows. The
// addresses and routes are a person's: the log says what to do.
type machineDevice struct {
	name  string
	plain wireguard.Device
	mtu   int
	life  context.Context // ends when it is not wanted any more
	end   context.CancelFunc
	done  chan struct{} // closed when it is gone

	device *tun.Device // nil before it is served
	failed bool        // it could not be made
	said   bool        // what to do
	led    atomic.Bool // it is served
}

// openMachine makes a device. On macOS its name is utun, or utun with a number; Windows needs
// wintun.dll beside the program.
func openMachine(cfg *conf.TUN) (*machineDevice, error) {
	plain, err := wireguard.CreateTUN(cfg.Device, cfg.MTU)
	if err != nil {
		remedy := "as root; the name has to be utun, or utun with a number"
		if runtime.GOOS == "windows" {
			remedy = "as administrator; wintun.dll has to be beside mpsocks.exe"
		}
		return nil, fmt.Errorf("make device %s: %w (%s)", cfg.Device, err, remedy)
	}
	name, err := plain.Name()
	if err != nil {
		name = cfg.Device
	}
	d := &machineDevice{name: name, plain: plain, mtu: cfg.MTU, done: make(chan struct{})}
	d.life, d.end = context.WithCancel(context.Background())
	go func() { // ends when the device is closed
		for range plain.Events() {
		}
	}()
	return d, nil
}

// called says whether a device has a name of the configuration: utun is any.
func (d *machineDevice) called(name string) bool {
	return d.name == name || name == "utun" && runtime.GOOS == "darwin"
}

// close lets the device go.
func (d *machineDevice) close() {
	d.end()
	d.plain.Close()
}

// serve carries packets until ctx ends (nil) or the device does.
func (d *machineDevice) serve(ctx context.Context, c *Client, ready func(*tun.Device)) error {
	g, err := newEnclave(c, Program{Name: conf.TUNUser})
	if err != nil {
		return err
	}
	device := tun.NewPlain(d.plain, d.mtu, g)
	if err := c.enclaves.enter(); err != nil {
		return err
	}
	defer c.enclaves.leave()
	ready(device)
	return tun.ServePlain(ctx, device, d.plain)
}

// route says once what leads traffic to the device.
func (d *machineDevice) route(c *Client, cfg conf.TUN, _ bool) error {
	d.device.CaptureNames(captured(&cfg))
	if !d.said {
		d.said = true
		c.log.Warn().Str("device", d.name).Strs("commands", routeAdvice(runtime.GOOS, d.name, &cfg, servers(c))).
			Msg("tun: addresses and routes are not set by mpsocks on this system; these commands lead the traffic there (GATEWAY and UPLINK are the uplink's)")
	}
	return nil
}

// undo is nothing: what leads to the device goes with it.
func (d *machineDevice) undo() error { return nil }
