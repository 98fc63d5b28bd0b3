package stream

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/mpsocks/mpsocks/mux/buf"
)

// vectored says that a tap works here.
const vectored = true

// A tap reads a socket.
type tap struct{ vec [writeRun]unix.Iovec }

// read reads a socket that does not block once, into one Buffer after the other. Such a call cannot
// hold the thread, so it skips the scheduler's bookkeeping (RawSyscall): a quarter of a MiB takes longer
// than the scheduler leaves a processor to who is in a call, and moving it wakes a thread each time.
func (t *tap) read(fd uintptr, into []*buf.Buffer) (n int, err error) {
	for i, b := range into {
		p := b.Bytes()
		t.vec[i].Base = unsafe.SliceData(p)
		t.vec[i].SetLen(len(p))
	}
	defer clear(t.vec[:len(into)]) // the Buffers are not ours
	for {
		r, _, e := unix.RawSyscall(unix.SYS_READV, fd, uintptr(unsafe.Pointer(&t.vec[0])), uintptr(len(into)))
		switch e {
		case 0:
			return int(r), nil
		case unix.EINTR:
			continue
		}
		return 0, e
	}
}
