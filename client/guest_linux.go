package client

import (
	"context"
	"os"

	"github.com/mpsocks/mpsocks/client/tun"
)

// ServeTUN carries the packets of a TUN device until ctx ends (nil) or the
// device does. name is what rules know its programs by, as a SOCKS5 user. The
// file stays the caller's.
func (c *Client) ServeTUN(ctx context.Context, file *os.File, name string) error {
	d, err := tun.New(file, &guest{client: c, name: name})
	if err != nil {
		return err
	}
	a := &attached{name: name, device: d}
	if !c.guests.add(a) {
		return errTooManyGuests
	}
	defer c.guests.remove(a)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(c.life, cancel)
	defer stop()
	return d.Serve(ctx, file)
}
