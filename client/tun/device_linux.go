package tun

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mpsocks/mpsocks/mux/buf"
)

const (
	// batch is how many packets are read before what they made is sent.
	batch = 64
)

// Create makes a device in the network namespace of the caller, which needs
// CAP_NET_ADMIN there. It is not up and has no address. An empty name lets the
// kernel choose one.
func Create(name string) (*os.File, string, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, "", &os.PathError{Op: "open", Path: "/dev/net/tun", Err: err}
	}
	req, err := unix.NewIfreq(name)
	if err == nil {
		req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	if err != nil {
		unix.Close(fd)
		return nil, "", fmt.Errorf("make TUN device %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), "/dev/net/tun"), req.Name(), nil
}

// kernel is the device's file.
type kernel struct {
	raw  syscall.RawConn
	pool sync.Pool // of *gather
}

// gather is one write to the device.
type gather struct {
	parts [][]byte
	err   error
	do    func(fd uintptr) bool
}

func newKernel(raw syscall.RawConn) *kernel {
	k := &kernel{raw: raw}
	k.pool.New = func() any {
		g := &gather{}
		g.do = func(fd uintptr) bool {
			for {
				_, g.err = unix.Writev(int(fd), g.parts)
				if g.err != unix.EINTR {
					return true // a full queue drops, as any link does
				}
			}
		}
		return g
	}
	return k
}

func (k *kernel) writePacket(head *[vnetLen]byte, parts [][]byte) bool {
	g := k.pool.Get().(*gather)
	g.parts = append(append(g.parts[:0], head[:]), parts...)
	err := k.raw.Write(g.do)
	if err == nil {
		err = g.err
	}
	clear(g.parts)
	k.pool.Put(g)
	return err == nil
}

// offload asks the kernel for packets that are not cut and not summed; false if
// it has no such thing.
func (k *kernel) offload() (ok bool) {
	const tcp = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6 | unix.TUN_F_TSO_ECN
	k.raw.Control(func(fd uintptr) {
		// UDP since Linux 6.2.
		if unix.IoctlSetInt(int(fd), unix.TUNSETOFFLOAD, tcp|unix.TUN_F_USO4|unix.TUN_F_USO6) == nil ||
			unix.IoctlSetInt(int(fd), unix.TUNSETOFFLOAD, tcp) == nil {
			ok = true
		}
	})
	return ok
}

// New prepares a Device for file, which Create made, perhaps in another
// namespace and another process. Serve runs it. The file stays the caller's.
func New(file *os.File, t Tunnel) (*Device, error) {
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, err
	}
	k := newKernel(raw)
	return prepared(t, &link{out: k, offload: k.offload()}), nil
}

// Serve carries packets until ctx ends (nil) or the device does. The owner of the file
// closes it to end Serve; Serve is called once.
func (d *Device) Serve(ctx context.Context, file *os.File) error {
	return d.serve(ctx, func(ctx context.Context) error { return d.read(ctx, file) })
}

// read is Serve but for TCP's stack.
func (d *Device) read(ctx context.Context, file *os.File) error {
	stop := context.AfterFunc(ctx, func() { file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	k := d.link.out.(*kernel)
	r := reader{device: d, small: buf.Get(buf.SmallSize), rest: make([]byte, 1<<17)}
	defer func() { r.small.Release() }()
	for {
		select {
		case <-sweep.C:
			d.ports.tidy()
		default:
		}
		if err := k.raw.Read(r.read); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("read the TUN device: %w", err)
		}
		d.tunnel.Flush()
		if r.err != nil && ctx.Err() == nil {
			return fmt.Errorf("read the TUN device: %w", r.err)
		}
	}
}

// reader reads a device.
type reader struct {
	device *Device
	small  *buf.Buffer // where the next packet goes, if it fits
	rest   []byte      // what does not; twice what a packet can have
	head   [vnetLen]byte
	err    error
}

// read takes up to batch packets; false, when there is none yet, lets the
// caller wait.
func (r *reader) read(fd uintptr) bool {
	r.err = nil
	for i := range batch {
		b := r.small.Bytes()
		n, err := unix.Readv(int(fd), [][]byte{r.head[:], b, r.rest[len(b):]})
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return i > 0
		case errors.Is(err, unix.EBADFD), err != nil:
			r.err = err
			return true
		}
		r.take(n - vnetLen)
	}
	return true
}

// take passes on a packet of n bytes.
func (r *reader) take(n int) {
	if n <= 0 {
		r.device.n.malformed.Add(1)
		return
	}
	var v vnet
	v.parse(&r.head)
	b := r.small.Bytes()
	if n > len(b) {
		copy(r.rest, b)
		r.device.packet(&v, r.rest[:n], nil)
		return
	}
	if r.device.packet(&v, b[:n], r.small) {
		r.small = buf.Get(buf.SmallSize)
	}
}
