package client

import (
	"context"
	"errors"
	"os"

	"github.com/mpsocks/mpsocks/client/tun"
	"github.com/mpsocks/mpsocks/mux/resolvconf"
)

// ServeTUN carries the packets of a TUN device until ctx ends (nil) or the
// device does. ready is called once before the first packet is taken. The file stays
// the caller's.
func (c *Client) ServeTUN(ctx context.Context, file *os.File, p Program, ready func()) error {
	here := &nameServers{file: resolvconf.Path}
	return c.serveDevice(ctx, file, p, func(d *tun.Device) {
		d.CaptureNames(here.named)
		ready()
	})
}

// serveDevice is ServeTUN, whose ready gets the device.
func (c *Client) serveDevice(ctx context.Context, file *os.File, p Program, ready func(*tun.Device)) error {
	g, err := newEnclave(c, p)
	if err != nil {
		return err
	}
	if !isTUN(file) { // anything else need not end when it is told to
		return errors.New("what came is no TUN device")
	}
	d, err := tun.New(file, g)
	if err != nil {
		return err
	}
	if err := c.enclaves.enter(); err != nil {
		return err
	}
	defer c.enclaves.leave()
	ready(d)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(c.life, cancel)
	defer stop()
	defer func() { c.log.Debug().Str("program", p.Name).Interface("carried", d.Counts()).Msg("a TUN device ends") }()
	return d.Serve(ctx, file)
}
