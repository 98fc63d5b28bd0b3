//go:build unix

package carrier

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mpsocks/mpsocks/mux/lull"
)

// rawOf is the socket of a connection, nil if it has none.
func rawOf(c net.Conn) syscall.RawConn {
	if sc, ok := c.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			return raw
		}
	}
	return nil
}

// init prepares the closures that the kernel calls need, once.
func (k *socket) init(c net.Conn) {
	if k.raw = rawOf(c); k.raw == nil {
		return
	}
	k.tryWrite = func(fd uintptr) bool {
		k.wn, k.werr = sendNow(fd, k.pending())
		return true
	}
	k.waitWrite = func(fd uintptr) bool {
		k.wn, k.werr = sendNow(fd, k.pending())
		return k.werr != unix.EAGAIN || k.wn > 0
	}
}

// flush gives what is gathered to the kernel without blocking. blocked means
// that it did not take all.
func (k *socket) flush() (blocked bool, err error) {
	if k.raw == nil {
		return len(k.pending()) > 0, nil
	}
	for len(k.pending()) > 0 {
		if err := k.raw.Write(k.tryWrite); err != nil {
			return false, err
		}
		if k.wn > 0 {
			k.took(k.wn)
			continue
		}
		if k.werr == unix.EAGAIN {
			return true, nil
		}
		return false, k.werr
	}
	return false, nil
}

// drain gives what is gathered to the kernel and waits as long as that takes.
func (k *socket) drain() error {
	for len(k.pending()) > 0 {
		if k.raw == nil {
			n, err := k.Conn.Write(k.pending())
			k.took(n)
			if err != nil {
				return err
			}
			continue
		}
		if err := k.raw.Write(k.waitWrite); err != nil {
			return err
		}
		if k.wn == 0 {
			return k.werr
		}
		k.took(k.wn)
	}
	return nil
}

// fill waits for bytes, holding no memory, and reads them, while the handshakes run.
func (k *socket) fill() error {
	if k.raw == nil {
		return k.plain()
	}
	var failed error
	err := k.raw.Read(func(fd uintptr) bool {
		k.in = firstPool.Get().(*[firstRead]byte)[:]
		var n int
		if n, _, failed = k.inbox.recv(fd, k.in); n > 0 {
			k.filled(n)
			return true
		}
		k.giveBack()
		if failed == nil {
			failed = io.EOF
		}
		return failed != unix.EAGAIN
	})
	if err != nil {
		return err
	}
	return failed
}

// lone is as much as a wake-up for a datagram or two brings. After more, something has
// most likely come by the time that it is handled, and a look costs less than a wake-up.
const lone = 4 << 10

// restBytes is how much has to come for the kernel to wake a reader that rests, and to end its
// rest: more than a rest brings.
const restBytes = 128 << 10

// take reads what is here: EAGAIN for nothing, io.EOF for the end.
func (k *socket) take(fd uintptr) (n int, more bool, err error) {
	n, more, err = k.inbox.recv(fd, k.intake.room())
	if n > 0 {
		return n, more, nil
	}
	k.intake.settle() // an idle subflow holds nothing
	if err == nil {
		err = io.EOF
	}
	return 0, more, err
}

// serve is receive for a socket of the kernel's. It stays within one call of raw.Read:
// beginning another forgets that something has come, which costs a look each time.
//
// While it rests it is another goroutine that looks, for others too: once, and only where
// handle will not wait.
func (k *socket) serve(handle func() error, ready func() bool) error {
	if !k.enter() {
		return net.ErrClosed
	}
	defer k.leave()
	var failed error
	once := func(fd uintptr) (n int, more bool) {
		n, more, err := k.take(fd)
		switch err {
		case nil:
			failed = k.came(n, handle)
		case unix.EAGAIN:
			return 0, false
		default:
			failed = err
		}
		return n, more
	}
	look := func(fd uintptr) {
		for more := true; more && failed == nil; {
			var n int
			n, more = once(fd)
			more = more || n > lone
		}
	}
	err := k.raw.Read(func(fd uintptr) bool {
		for look(fd); failed == nil && k.looked(fd) && k.serving(); look(fd) {
			k.rested(fd, func() bool {
				if ready != nil && !ready() {
					return false
				}
				n, _ := once(fd)
				if n >= restBytes {
					k.rest = lull.Reader{}
				}
				return failed == nil && n < restBytes
			})
		}
		return failed != nil
	})
	if failed != nil {
		return failed
	}
	if errors.Is(err, os.ErrDeadlineExceeded) { // see close
		return net.ErrClosed
	}
	return err
}

// enter begins serve, unless the socket is closed.
func (k *socket) enter() bool {
	k.ending.Lock()
	defer k.ending.Unlock()
	k.serves = !k.closed
	return k.serves
}

// leave ends serve, and the socket if that was wanted meanwhile.
func (k *socket) leave() {
	k.ending.Lock()
	k.serves = false
	closed := k.closed
	k.ending.Unlock()
	if closed {
		k.Conn.Close()
	}
}

// serving says that nobody has closed the socket meanwhile.
func (k *socket) serving() bool {
	k.ending.Lock()
	defer k.ending.Unlock()
	return !k.closed
}

// close ends the connection. The poller's Close waits for whoever is within raw.Read,
// which may be the caller, or wait for a lock of its: so serve is only told, and closes.
func (k *socket) close() {
	k.ending.Lock()
	k.closed = true
	serves := k.serves
	k.ending.Unlock()
	if serves {
		k.SetDeadline(time.Unix(1, 0))
		return
	}
	k.Conn.Close()
}
