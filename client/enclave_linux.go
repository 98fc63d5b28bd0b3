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
	d, err := tun.New(file, &enclave{client: c, name: name})
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
