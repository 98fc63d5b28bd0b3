package lull

import (
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A clock is a timer of the kernel's in Go's poller, for one goroutine that waits for it. A
// timer of Go's has another thread woken with each goroutine that it readies, and its
// monitor, too.
type clock struct {
	file *os.File
	raw  syscall.RawConn
	fd   int
	step func(fd uintptr) bool

	// The waiting goroutine's own.
	in    time.Duration
	stop  func() bool
	armed bool

	mu   sync.Mutex // held for no call that waits
	shut bool
}

// newClock makes one, or nil: a process without descriptors left gets along without.
func newClock() *clock {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil
	}
	c := &clock{file: os.NewFile(uintptr(fd), "clock"), fd: fd}
	if c.raw, err = c.file.SyscallConn(); err != nil || c.file.SetReadDeadline(time.Time{}) != nil {
		c.file.Close()
		return nil
	}
	c.step = func(uintptr) bool {
		if c.armed {
			return true
		}
		c.armed = true
		return !c.set(c.in) || c.stop()
	}
	return c
}

// wait returns after that time, or another one that was set meanwhile, or at once where stop,
// which is asked when the time runs, says so; false if there is no waiting. Now and then it
// returns early.
func (c *clock) wait(in time.Duration, stop func() bool) bool {
	c.in, c.stop, c.armed = in, stop, false
	return c.raw.Read(c.step) == nil
}

// set has wait return after that time; any goroutine may call it. The call cannot block, and
// skips the scheduler's bookkeeping.
func (c *clock) set(in time.Duration) bool {
	at := unix.ItimerSpec{Value: unix.NsecToTimespec(max(int64(in), 1))} // 0 would be never
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.shut {
		return false
	}
	_, _, e := unix.RawSyscall6(unix.SYS_TIMERFD_SETTIME, uintptr(c.fd), 0, uintptr(unsafe.Pointer(&at)), 0, 0, 0)
	return e == 0
}

// close ends it; the goroutine that waits calls it.
func (c *clock) close() {
	c.mu.Lock()
	c.shut = true
	c.mu.Unlock()
	c.file.Close()
}
