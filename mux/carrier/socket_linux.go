package carrier

import (
	"encoding/binary"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/mpsocks/mpsocks/mux/lull"
)

// The sockets are non-blocking, so the calls cannot hold the thread and skip
// the scheduler's bookkeeping (RawSyscall).

func sendNow(fd uintptr, p []byte) (int, error) {
	for {
		n, _, e := unix.RawSyscall6(unix.SYS_SENDTO, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT, 0, 0)
		switch e {
		case 0:
			return int(n), nil
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return 0, unix.EAGAIN
		}
		return 0, e
	}
}

// looked ends a look that has left nothing, and says whether the reader rests now.
func (k *socket) looked(uintptr) (rests bool) {
	far := k.far.Load()
	return (far || k.rest.Rests()) && k.rest.Looked(time.Now().UnixNano(), far)
}

// rested returns when the reader rests no more: until then look is called at the moments that
// package lull has for all of them, as long as it says that all is well, and in time.
func (k *socket) rested(fd uintptr, look func() (well bool)) {
	k.setLeast(fd, restBytes)
	over := make(chan struct{})
	lull.Join(func(late bool) bool {
		if !late && k.serving() && look() && k.looked(fd) {
			return true
		}
		close(over)
		return false
	})
	<-over
	k.setLeast(fd, 1)
}

// setLeast has the poller tell of no fewer bytes than that, but for the end, as best effort
// (socket(7), SO_RCVLOWAT).
func (k *socket) setLeast(fd uintptr, n int32) {
	unix.RawSyscall6(unix.SYS_SETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_RCVLOWAT, uintptr(unsafe.Pointer(&n)), unsafe.Sizeof(n), 0)
}

// An inbox reads, and learns with what it has read whether something is left: the kernel
// says how much (TCP_INQ), and something if the end is near.
type inbox struct {
	msg  unix.Msghdr
	part unix.Iovec
	said [64]byte // control messages
}

// recv reads what is here. Without more nothing is left, and the poller tells of what
// comes.
func (b *inbox) recv(fd uintptr, p []byte) (n int, more bool, err error) {
	b.part.Base = unsafe.SliceData(p)
	b.part.SetLen(len(p))
	b.msg.Iov = &b.part
	b.msg.SetIovlen(1)
	b.msg.Control = &b.said[0]
	defer func() { b.part.Base = nil }() // the buffer is not ours
	for {
		b.msg.SetControllen(len(b.said))
		r, _, e := unix.RawSyscall(unix.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(&b.msg)), unix.MSG_DONTWAIT)
		switch e {
		case 0:
			return int(r), b.left(), nil
		case unix.EINTR:
			continue
		}
		return 0, true, e
	}
}

// left says whether something is left; a kernel that does not say may have something.
func (b *inbox) left() bool {
	const head = unix.SizeofCmsghdr
	said := b.said[:min(int(b.msg.Controllen), len(b.said))]
	if len(said) < head+4 {
		return true
	}
	h := (*unix.Cmsghdr)(unsafe.Pointer(&said[0]))
	if h.Level != unix.SOL_TCP || h.Type != unix.TCP_CM_INQ {
		return true
	}
	return binary.NativeEndian.Uint32(said[unix.CmsgLen(0):]) != 0
}
