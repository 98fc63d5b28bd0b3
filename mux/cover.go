package mux

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/carrier"
	"github.com/mpsocks/mpsocks/mux/gate"
	"github.com/mpsocks/mpsocks/mux/handshake"
	"github.com/mpsocks/mpsocks/mux/tcpio"
)

// A Cover says what a subflow looks like to others.
type Cover = handshake.Cover

// errStranger ends a handshake before anything was answered, and errGuest says that the
// upstream has served who began it.
var (
	errStranger = errors.New("no proof of a client's key")
	errGuest    = errors.New("a guest of the cover's upstream")
)

const (
	// mostGuests is how many strangers the upstream serves at once, and guestShare how many
	// of one address.
	mostGuests = 1024
	guestShare = 128
	// guestsFree have the kernel's own buffers, which grow to megabytes for who reads nothing; all
	// others share guestKernel in each direction, about, and have guestLeast.
	guestsFree  = 16
	guestKernel = 4 << 20
	guestLeast  = 32 << 10
	// upstreamTimeout is how long it may take to connect to it.
	upstreamTimeout = 5 * time.Second
)

// guests are the strangers at the cover's upstream.
type guests struct {
	gate *gate.Gate
	here atomic.Int32
}

// serve gives a connection that is no client's to the upstream, or keeps silent
// until its time is over. The place is left. The error is errGuest where the upstream has
// served it.
func (g *guests) serve(ctx context.Context, cover *Cover, k *carrier.TLS, place *gate.Place) error {
	if cover.Upstream == "" {
		_, err := io.Copy(io.Discard, k.TCP())
		k.TCP().Close()
		return err
	}
	ctx, leave := context.WithCancel(ctx)
	defer leave()
	guest, _ := g.gate.Enter(carrier.AddrPort(k.RemoteAddr()).Addr(), time.Now(), leave, nil)
	place.Leave()
	defer k.TCP().Close()
	if guest == nil {
		return errTooMany
	}
	defer guest.Leave()
	d := net.Dialer{Timeout: upstreamTimeout}
	d.SetMultipathTCP(false)
	up, err := d.DialContext(ctx, "tcp", cover.Upstream)
	if err != nil {
		return fmt.Errorf("cover's upstream: %w", err)
	}
	defer up.Close()
	stop := context.AfterFunc(ctx, func() { up.Close(); k.TCP().Close() })
	defer stop()
	k.TCP().SetDeadline(time.Time{})
	defer g.here.Add(-1)
	if n := int(g.here.Add(1)); n > guestsFree {
		for _, c := range []net.Conn{up, k.TCP()} {
			if c, ok := c.(tcpio.Socket); ok { // the kernel doubles what it is told
				_ = c.SetReadBuffer(max(guestKernel/n, guestLeast) / 2)
				_ = c.SetWriteBuffer(max(guestKernel/n, guestLeast) / 2)
			}
		}
	}
	if _, err := up.Write(k.Heard()); err != nil {
		return err
	}
	var both sync.WaitGroup
	both.Go(func() { pass(up, k.TCP()) })
	both.Go(func() { pass(k.TCP(), up) })
	both.Wait()
	return errGuest
}

// pass copies until src ends, and passes the end on. It is not spliced: that takes two descriptors
// more for each direction, and a pipe of a megabyte.
func pass(dst, src net.Conn) {
	b := buf.Get(buf.PageSize)
	defer b.Release()
	_, err := io.CopyBuffer(struct{ io.Writer }{dst}, struct{ io.Reader }{src}, b.Bytes())
	if c, ok := dst.(tcpio.Socket); ok && err == nil {
		_ = c.CloseWrite()
		return
	}
	dst.Close()
}
