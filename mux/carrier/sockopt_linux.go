package carrier

import (
	"math"
	"net"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/mpsocks/mpsocks/mux/lull"
)

// info reads TCP_INFO; false where there is none.
func (k *socket) info(r *Report) bool {
	if k.raw == nil {
		return false
	}
	var t unix.TCPInfo
	ok := false
	k.raw.Control(func(fd uintptr) {
		n := uint32(unsafe.Sizeof(t))
		_, _, e := unix.RawSyscall6(unix.SYS_GETSOCKOPT, fd, unix.IPPROTO_TCP, unix.TCP_INFO, uintptr(unsafe.Pointer(&t)), uintptr(unsafe.Pointer(&n)), 0)
		ok = e == 0
	})
	if !ok {
		return false
	}
	i := &r.Info
	i.SRTT, i.RTTVar = int64(t.Rtt)*1000, int64(t.Rttvar)*1000
	i.MinRTT = int64(t.Min_rtt) * 1000
	k.far.Store(lull.Far(i.MinRTT))
	i.CWND = int(t.Snd_cwnd) * int(t.Snd_mss)
	i.Rate = t.Delivery_rate
	i.Sacked = uint64(t.Sacked) * uint64(t.Snd_mss)
	i.Retrans, i.Segs = uint64(t.Total_retrans), uint64(t.Data_segs_out)
	r.Packets, r.Again = uint64(t.Segs_out)+uint64(t.Segs_in), t.Bytes_retrans
	return true
}

// outstanding returns the bytes that the peer's kernel has not acknowledged.
// One caller at a time.
func (k *socket) outstanding() (n int, ok bool) {
	if k.raw == nil {
		return 0, false
	}
	if k.askOut == nil { // made once: this is asked often
		k.askOut = func(fd uintptr) {
			_, _, e := unix.RawSyscall(unix.SYS_IOCTL, fd, unix.SIOCOUTQ, uintptr(unsafe.Pointer(&k.outQueue)))
			if e != 0 {
				k.outQueue = -1
			}
		}
	}
	if k.raw.Control(k.askOut) != nil || k.outQueue < 0 {
		return 0, false
	}
	return int(k.outQueue), true
}

// setLowat bounds the unsent data in the kernel, best effort.
func (k *socket) setLowat(n int) {
	if k.raw != nil {
		k.raw.Control(func(fd uintptr) {
			unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, n)
		})
	}
}

// setPace bounds the rate, in bytes a nanosecond, at which the kernel sends;
// 0 lifts the bound.
func (k *socket) setPace(rate float64) {
	if k.raw == nil {
		return
	}
	v := pacingRate(rate)
	k.raw.Control(func(fd uintptr) {
		unix.RawSyscall6(unix.SYS_SETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_MAX_PACING_RATE, uintptr(unsafe.Pointer(&v)), unsafe.Sizeof(v), 0)
	})
}

// pacingRate is what SO_MAX_PACING_RATE takes for a rate in bytes a nanosecond: a word of
// the kernel's (socket(7)), of which all bits set is no bound. A 32-bit kernel looks at the
// first four bytes whatever the size: of a 64-bit value these are 0 where the higher half
// comes first (mips).
func pacingRate(rate float64) uint {
	if most := uint(math.MaxUint); rate > 0 && rate*1e9 < float64(most) {
		return max(uint(rate*1e9), 1)
	}
	return math.MaxUint
}

// setCongestion chooses the congestion control, where the system allows it.
func (k *socket) setCongestion(name string) {
	if k.raw != nil {
		k.raw.Control(func(fd uintptr) {
			unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, name)
		})
	}
}

// Untimed has a socket that is not connected yet, and those that a listening one accepts,
// begin with CUBIC, as best effort. Where BBR is the system's own each segment waits for a timer
// (tcp_pacing), and a connection that has once had BBR keeps that: on a way within a machine
// or a house it is a wake-up for every 64 KiB and brings nothing.
func Untimed(raw syscall.RawConn) {
	raw.Control(func(fd uintptr) {
		cubic := [...]byte{'c', 'u', 'b', 'i', 'c', 0}
		unix.RawSyscall6(unix.SYS_SETSOCKOPT, fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, uintptr(unsafe.Pointer(&cubic)), unsafe.Sizeof(cubic), 0)
	})
}

// silentTime is how long the kernel keeps a connection to itself that has said nothing: who
// comes to speak speaks at once, and the others cost a process nothing meanwhile.
const silentTime = 3 // s

// deferSilent has a listening socket do so, as best effort (tcp(7), TCP_DEFER_ACCEPT).
func deferSilent(raw syscall.RawConn) {
	raw.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, silentTime) })
}

// keepAlive has those that a listening socket accepts begin with the keep-alives of orphans, as best effort.
func keepAlive(raw syscall.RawConn) {
	raw.Control(func(fd uintptr) {
		unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
		unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, int(orphans.Idle/time.Second))
		unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, int(orphans.Interval/time.Second))
		unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_KEEPCNT, orphans.Count)
	})
}

// userTimeout kills a subflow whose data nobody acknowledges: a black hole.
// It has been left for others long before.
const userTimeout = 15_000 // ms

// tune sets the options of a subflow's socket, best effort: an old kernel
// only loses precision.
func tune(c net.Conn, lowat int) {
	raw := rawOf(c)
	if raw == nil {
		return
	}
	raw.Control(func(fd uintptr) {
		unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, lowat)
		unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, userTimeout)
		unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_INQ, 1) // see inbox
	})
}
