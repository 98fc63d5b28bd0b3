//go:build linux && !mpsocks_portable

package udpio

import (
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// maxSegments is the longest GSO run: UDP_MAX_SEGMENTS of every kernel
	// that has GSO (newer ones take 128).
	maxSegments = 64
	// maxPayload4 and maxPayload6 are the longest UDP payloads: 65,535 less
	// the IPv4 and UDP headers, or less the UDP header alone. A GSO run obeys
	// the same limits as one datagram.
	maxPayload4 = 65535 - 28
	maxPayload6 = 65535 - 8
)

// offloads says what the kernel can do for sockets that ask for offload.
type offloads struct{ gso, gro bool }

// probe asks the kernel once per process. If there is GRO, the socket it asked
// with stays open for the life of the process: the kernel patches its own code
// when the first socket turns GRO on and when the last one is closed, which
// takes some 150 microseconds for a pair that otherwise takes 15.
var probe = sync.OnceValue(func() offloads {
	var u unix.Utsname
	if unix.Uname(&u) != nil || corrupts(unix.ByteSliceToString(u.Release[:])) {
		return offloads{}
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return offloads{}
	}
	var o offloads
	_, err = unix.GetsockoptInt(fd, unix.SOL_UDP, unix.UDP_SEGMENT)
	o.gso = err == nil
	if unix.SetsockoptInt(fd, unix.SOL_UDP, unix.UDP_GRO, 1) == nil {
		// Before Linux 5.12 the option could be set but not be read.
		v, err := unix.GetsockoptInt(fd, unix.SOL_UDP, unix.UDP_GRO)
		o.gro = err == nil && v == 1
	}
	if !o.gro {
		unix.Close(fd)
	}
	return o
})

// corrupts reports whether a kernel release is one that corrupts GSO runs of
// equal length on some network cards: 7.0.0 to 7.1.4, mended in 7.1.5. The
// fault cannot be probed.
func corrupts(release string) bool {
	number := release
	if i := strings.IndexFunc(release, func(r rune) bool { return r != '.' && (r < '0' || r > '9') }); i >= 0 {
		number = release[:i]
	}
	var v [3]int
	for i, part := range strings.SplitN(number, ".", 4) {
		if i < len(v) {
			v[i], _ = strconv.Atoi(part)
		}
	}
	return v[0] == 7 && (v[1] == 0 || v[1] == 1 && v[2] < 5)
}
