package tun

import (
	"context"
	"fmt"
	"sync"
)

// Plain is a TUN device that gives and takes IP packets with nothing around them, as utun of
// macOS and Wintun of Windows do (golang.zx2c4.com/wireguard/tun has both).
type Plain interface {
	// Read waits for packets, and puts them into the buffers from offset on.
	Read(buffers [][]byte, sizes []int, offset int) (int, error)
	// Write gives packets to the system, each from offset on; what is before is overwritten.
	Write(buffers [][]byte, offset int) (int, error)
	// BatchSize is how many Read wants buffers for.
	BatchSize() int
	// Close lets Read return, and the device go.
	Close() error
}

// plainRoom is what a Plain needs before a packet: utun has the family there.
const plainRoom = 4

// plainWriter gives packets to a Plain.
type plainWriter struct {
	device Plain
	pool   sync.Pool // of *[]byte
}

// writePacket implements writer. Nothing is left undone in what comes: the stack knows of no
// offload.
func (w *plainWriter) writePacket(_ *[vnetLen]byte, parts [][]byte) bool {
	b, _ := w.pool.Get().(*[]byte)
	if b == nil {
		b = new([]byte)
	}
	*b = append((*b)[:0], make([]byte, plainRoom)...)
	for _, p := range parts {
		*b = append(*b, p...)
	}
	_, err := w.device.Write([][]byte{*b}, plainRoom)
	w.pool.Put(b)
	return err == nil
}

// NewPlain prepares a Device for one that ServePlain runs.
func NewPlain(device Plain, mtu int, t Tunnel) *Device {
	return prepared(t, &link{out: &plainWriter{device: device}, mtu: uint32(mtu)})
}

// ServePlain carries packets until ctx ends (nil), and then closes the device, or until the
// device ends. It is called once.
func ServePlain(ctx context.Context, d *Device, device Plain) error {
	return d.serve(ctx, func(ctx context.Context) error { return readPlain(ctx, d, device) })
}

// readPlain is ServePlain but for TCP's stack.
func readPlain(ctx context.Context, d *Device, device Plain) error {
	defer context.AfterFunc(ctx, func() { device.Close() })()
	n := max(device.BatchSize(), 1)
	buffers, sizes := make([][]byte, n), make([]int, n)
	for i := range buffers {
		buffers[i] = make([]byte, plainRoom+MTU)
	}
	defer d.ports.tidying()()
	for {
		n, err := device.Read(buffers, sizes, plainRoom)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the TUN device: %w", err)
		}
		for i := range n {
			// What is kept of it is copied, but by TCP's stack, which is given a copy.
			d.packet(&vnet{}, buffers[i][plainRoom:plainRoom+sizes[i]], nil)
		}
		d.flush()
		d.tunnel.Flush()
	}
}
