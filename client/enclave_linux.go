package client

import (
	"context"
	"os"

	"github.com/mpsocks/mpsocks/client/tun"
)

// ServeTUN carries the packets of a TUN device until ctx ends (nil) or the
// device does. name is what rules know its programs by, as a SOCKS5 user; class is
// the class of all that they send by UDP, "" for what rules and flows say. The file
// stays the caller's.
func (c *Client) ServeTUN(ctx context.Context, file *os.File, name, class string) error {
	g, err := newEnclave(c, name, class)
	if err != nil {
		return err
	}
	d, err := tun.New(file, g)
	if err != nil {
		return err
	}
	a := &attached{name: name, device: d}
	if !c.enclaves.add(a) {
		return errTooManyEnclaves
	}
	defer c.enclaves.remove(a)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(c.life, cancel)
	defer stop()
	return d.Serve(ctx, file)
}
