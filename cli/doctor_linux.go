package cli

import (
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// clockSynced says whether something keeps the system's clock in time (adjtimex(2)).
func clockSynced() (synced, known bool) {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	return err == nil && state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0, err == nil
}

// descriptorLimit is how many a program may have.
func descriptorLimit() (n uint64, known bool) {
	var l unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l)
	return l.Max, err == nil
}

// maxSegment is the size of TCP's segments on a connection: what the path's MTU leaves.
func maxSegment(conn net.Conn) (n int) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return 0
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return 0
	}
	raw.Control(func(fd uintptr) { n, _ = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG) })
	return n
}

// bindControl binds a socket to an interface, as the client does.
func bindControl(bind string) func(network, address string, c syscall.RawConn) error {
	if _, err := netip.ParseAddr(bind); bind == "" || err == nil {
		return nil
	}
	return func(_, _ string, c syscall.RawConn) (err error) {
		if e := c.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), bind) }); e != nil {
			return e
		}
		return err
	}
}
