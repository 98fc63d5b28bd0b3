//go:build unix

package carrier

import (
	"io"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// init prepares the closures that the kernel calls need, once.
func (k *socket) init(c net.Conn) {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return
	}
	k.raw = raw
	k.tryWrite = func(fd uintptr) bool {
		k.wn, k.werr = sendNow(fd, k.pending())
		return true
	}
	k.waitWrite = func(fd uintptr) bool {
		k.wn, k.werr = sendNow(fd, k.pending())
		return k.werr != unix.EAGAIN || k.wn > 0
	}
	k.tryRead = func(fd uintptr) bool {
		if k.in == nil {
			k.in = cipherPool.Get().(*[MostRead]byte)
		}
		k.rn, k.rerr = recvNow(fd, k.in[:])
		if k.rerr == unix.EAGAIN {
			cipherPool.Put(k.in) // an idle subflow holds nothing
			k.in = nil
			return false
		}
		return true
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

func (k *socket) fill() error {
	if k.raw == nil {
		k.in = cipherPool.Get().(*[MostRead]byte)
		n, err := k.Conn.Read(k.in[:])
		k.inR, k.inW = 0, n
		k.received.Add(uint64(n))
		if n > 0 {
			return nil
		}
		return err
	}
	if err := k.raw.Read(k.tryRead); err != nil {
		return err
	}
	if k.rerr != nil {
		return k.rerr
	}
	if k.rn == 0 {
		return io.EOF
	}
	k.inR, k.inW = 0, k.rn
	k.received.Add(uint64(k.rn))
	return nil
}
