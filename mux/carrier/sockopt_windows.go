package carrier

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/windows"
)

// sioTCPInfo is SIO_TCP_INFO (mstcpip.h), since Windows 10 1703.
const sioTCPInfo = windows.IOC_INOUT | windows.IOC_VENDOR | 39

// info reads TCP_INFO_v0; false where there is none.
func (k *socket) info(r *Report) bool {
	c, ok := k.Conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	var version [4]byte // 0
	var b [tcpInfoSize]byte
	var n uint32
	if e := raw.Control(func(fd uintptr) {
		err = windows.WSAIoctl(windows.Handle(fd), sioTCPInfo, &version[0], uint32(len(version)), &b[0], uint32(len(b)), &n, nil, 0)
	}); e != nil || err != nil {
		return false
	}
	f, ok := parseTCPInfo(b[:min(int(n), len(b))])
	if ok {
		k.inbox.past.report(f, time.Now(), r)
		r.Partial = true
	}
	return ok
}

// The kernel says what is on the way, and not what still waits to go.

func (k *socket) outstanding() (int, bool) { return 0, false }
func (k *socket) setCongestion(string)     {}
func (k *socket) setPace(float64)          {}
func (k *socket) setLowat(int)             {}
func tune(net.Conn, int)                   {}
