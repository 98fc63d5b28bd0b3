package tun

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/buffer"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/packet"
)

const (
	// batch is how many packets are read before what they made is sent.
	batch = 64
	// queue is how many packets the kernel keeps for us. Its own default, 500, is gone in the
	// few milliseconds that a busy machine may take to run this program again.
	queue = 2000
)

// Congestion is the congestion control that TCP of programs does well with on the way to a
// device (tcp(7)). Nothing is lost there and it has no rate: one that looks for the rate, as
// BBR does, sends by a timer, and no more than it believes to be under way.
const Congestion = "cubic"

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
	if err == nil {
		_ = lengthen(req.Name()) // with the kernel's own a burst loses more, and all else works
	}
	if err != nil {
		unix.Close(fd)
		return nil, "", fmt.Errorf("make TUN device %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), "/dev/net/tun"), req.Name(), nil
}

// lengthen sets a device's queue.
func lengthen(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	req.SetUint32(queue)
	return unix.IoctlIfreq(fd, unix.SIOCSIFTXQLEN, req)
}

// kernel is the device's file.
type kernel struct {
	raw  syscall.RawConn
	pool sync.Pool // of *gather
}

// gather is one write to the device.
type gather struct {
	parts []unix.Iovec
	err   error
	do    func(fd uintptr) bool
}

func newKernel(raw syscall.RawConn) *kernel {
	k := &kernel{raw: raw}
	k.pool.New = func() any {
		g := &gather{}
		// The device never waits, so that its calls need not tell the scheduler (RawSyscall).
		g.do = func(fd uintptr) bool {
			for {
				_, _, e := unix.RawSyscall(unix.SYS_WRITEV, fd, uintptr(unsafe.Pointer(&g.parts[0])), uintptr(len(g.parts)))
				if g.err = nil; e != 0 {
					g.err = e
				}
				if e != unix.EINTR {
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
	g.parts = append(g.parts[:0], vector(head[:]))
	for _, p := range parts {
		if len(p) > 0 {
			g.parts = append(g.parts, vector(p))
		}
	}
	err := k.raw.Write(g.do)
	if err == nil {
		err = g.err
	}
	clear(g.parts)
	k.pool.Put(g)
	return err == nil
}

// vector is bytes as the kernel is told of them.
func vector(b []byte) (v unix.Iovec) {
	v.Base = unsafe.SliceData(b)
	v.SetLen(len(b))
	return v
}

// offload asks the kernel for packets that are not cut and not summed, as far as it has such
// a thing: for TCP, and for UDP.
func (k *kernel) offload() (tcp, udp bool) {
	const features = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6 | unix.TUN_F_TSO_ECN
	k.raw.Control(func(fd uintptr) {
		// UDP since Linux 6.2.
		udp = unix.IoctlSetInt(int(fd), unix.TUNSETOFFLOAD, features|unix.TUN_F_USO4|unix.TUN_F_USO6) == nil
		tcp = udp || unix.IoctlSetInt(int(fd), unix.TUNSETOFFLOAD, features) == nil
	})
	return tcp, udp
}

// New prepares a Device for file, which Create made, perhaps in another
// namespace and another process. Serve runs it. The file stays the caller's.
func New(file *os.File, t Tunnel) (*Device, error) {
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, err
	}
	k := newKernel(raw)
	l := &link{out: k}
	l.offload, l.cuts = k.offload()
	return prepared(t, l), nil
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
	defer d.ports.tidying()()
	k := d.link.out.(*kernel)
	r := newReader(d)
	defer r.end()
	for {
		if err := k.raw.Read(r.read); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("read the TUN device: %w", err)
		}
		d.flush()
		d.tunnel.Flush()
		if r.full { // calls that do not tell the scheduler leave others of this process waiting
			runtime.Gosched()
		}
		if r.err != nil && ctx.Err() == nil {
			return fmt.Errorf("read the TUN device: %w", r.err)
		}
	}
}

// reader reads a device. It is one goroutine's.
type reader struct {
	device *Device
	small  *buf.Buffer  // where the next packet goes, if it fits
	rest   *buffer.View // where all of it goes, if not: what is of TCP the stack gets as it is
	over   []byte       // and what is longer than any packet should be
	head   [vnetLen]byte
	parts  [4]unix.Iovec // of these
	full   bool          // the last batch was: there is more
	err    error
}

func newReader(d *Device) *reader {
	return &reader{device: d, small: buf.Get(buf.SmallSize), rest: buffer.NewViewSize(buffer.MaxChunkSize), over: make([]byte, 1<<16)}
}

func (r *reader) end() {
	r.small.Release()
	r.rest.Release()
}

// read takes up to batch packets; false, when there is none yet, lets the
// caller wait.
func (r *reader) read(fd uintptr) bool {
	r.err, r.full = nil, false
	for i := range batch {
		b := r.small.Bytes()
		r.parts = [...]unix.Iovec{vector(r.head[:]), vector(b), vector(r.rest.AsSlice()[len(b):]), vector(r.over)}
		n, _, e := unix.RawSyscall(unix.SYS_READV, fd, uintptr(unsafe.Pointer(&r.parts[0])), uintptr(len(r.parts)))
		switch e {
		case 0:
			r.take(int(n) - vnetLen)
		case unix.EINTR:
		case unix.EAGAIN:
			return i > 0
		default:
			r.err = e
			return true
		}
	}
	r.full = true
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
	if n <= len(b) {
		if r.device.packet(&v, b[:n], r.small) {
			r.small = buf.Get(buf.SmallSize)
		}
		return
	}
	whole := r.rest.AsSlice()
	copy(whole, b)
	if n > len(whole) {
		whole = append(whole[:len(whole):len(whole)], r.over...)
	} else if size, four := segment(whole[:n]); size > 0 {
		r.rest.CapLength(size)
		r.device.link.deliver(buffer.MakeWithView(r.rest), four)
		r.rest = buffer.NewViewSize(buffer.MaxChunkSize)
		return
	}
	r.device.packet(&v, whole[:n], nil)
}

// segment says how long a packet with TCP is, and of which family; 0 if it is none, or a
// fragment.
func segment(b []byte) (size int, four bool) {
	var n network
	if !n.parse(b) || n.fragment || n.proto != packet.ProtoTCP {
		return 0, false
	}
	return n.total, n.dst.Is4()
}
