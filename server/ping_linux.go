package server

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/mpsocks/mpsocks/mux/packet"
)

const (
	echoHeader = 8  // RFC 792, RFC 4443 Section 4.1
	ipv4Header = 20 // without options, RFC 791 Section 3.1
	// icmpFilter is the option ICMP_FILTER at level SOL_RAW (linux/icmp.h).
	solRaw, icmpFilter = 255, 1
)

// A pingSocket sends echo requests and hears what comes of them: without privilege where
// net.ipv4.ping_group_range has the group of this process, or else as root, by a raw
// socket, which hears the answers to everybody of this machine.
type pingSocket struct {
	v4, crude bool
	id        uint16
	file      *os.File
	raw       syscall.RawConn
}

// newPingSocket binds one to an address. Its error says what to do.
func newPingSocket(local netip.Addr) (*pingSocket, error) {
	s := &pingSocket{v4: local.Is4()}
	family, proto := unix.AF_INET6, unix.IPPROTO_ICMPV6
	var at unix.Sockaddr = &unix.SockaddrInet6{Addr: local.As16()}
	if s.v4 {
		family, proto, at = unix.AF_INET, unix.IPPROTO_ICMP, &unix.SockaddrInet4{Addr: local.As4()}
	}
	const flags = unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|flags, proto)
	if err != nil {
		s.crude, s.id = true, uint16(rand.Uint32())
		fd, err = unix.Socket(family, unix.SOCK_RAW|flags, proto)
	}
	if err != nil {
		return nil, fmt.Errorf("%w (%w): as root, sysctl net.ipv4.ping_group_range=\"0 2147483647\"", errNoEcho, err)
	}
	s.file = os.NewFile(uintptr(fd), "ping")
	if err = s.configure(fd, at); err == nil {
		s.raw, err = s.file.SyscallConn()
	}
	if err != nil {
		s.file.Close()
		return nil, fmt.Errorf("socket for echo requests: %w", err)
	}
	return s, nil
}

func (s *pingSocket) configure(fd int, at unix.Sockaddr) error {
	level, options := unix.IPPROTO_IPV6, []int{unix.IPV6_RECVERR, unix.IPV6_RECVHOPLIMIT, unix.IPV6_RECVTCLASS}
	if s.v4 {
		level, options = unix.IPPROTO_IP, []int{unix.IP_RECVERR, unix.IP_RECVTTL, unix.IP_RECVTOS}
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, level, o, 1); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	if s.crude { // of all that is ICMP, answers
		var err error
		if s.v4 {
			err = unix.SetsockoptInt(fd, solRaw, icmpFilter, ^1)
		} else {
			var f unix.ICMPv6Filter
			for i := range f.Data {
				f.Data[i] = 0xFFFFFFFF
			}
			f.Data[129/32] &^= 1 << (129 % 32)
			err = unix.SetsockoptICMPv6Filter(fd, unix.IPPROTO_ICMPV6, unix.ICMPV6_FILTER, &f)
		}
		if err != nil {
			return os.NewSyscallError("setsockopt ICMP filter", err)
		}
	}
	if err := unix.Bind(fd, at); err != nil {
		return os.NewSyscallError("bind", err)
	}
	return nil
}

// send sends a request. It never waits.
func (s *pingSocket) send(to netip.Addr, seq uint16, tos, ttl uint8, payload []byte) error {
	b := make([]byte, echoHeader+len(payload))
	b[0] = 128
	level, tosType, ttlType := int32(unix.IPPROTO_IPV6), int32(unix.IPV6_TCLASS), int32(unix.IPV6_HOPLIMIT)
	var at unix.Sockaddr = &unix.SockaddrInet6{Addr: to.As16()}
	if s.v4 {
		b[0] = 8
		level, tosType, ttlType = unix.IPPROTO_IP, unix.IP_TOS, unix.IP_TTL
		at = &unix.SockaddrInet4{Addr: to.As4()}
	}
	binary.BigEndian.PutUint16(b[4:], s.id) // the kernel writes its own, and the sum, unless crude
	binary.BigEndian.PutUint16(b[6:], seq)
	copy(b[echoHeader:], payload)
	if s.v4 {
		binary.BigEndian.PutUint16(b[2:], packet.Checksum(b, 0))
	}
	oob := appendNumber(appendNumber(nil, level, tosType, tos), level, ttlType, ttl)
	var err error
	if e := s.raw.Control(func(fd uintptr) {
		for range 2 { // the first time it may say what befell an earlier one
			if err = unix.Sendmsg(int(fd), b, oob, at, unix.MSG_DONTWAIT); err == nil || errors.Is(err, unix.EAGAIN) {
				return
			}
		}
	}); e != nil {
		return e
	}
	return err
}

// appendNumber appends a control message with an int.
func appendNumber(b []byte, level, kind int32, value uint8) []byte {
	at := len(b)
	b = append(b, make([]byte, unix.CmsgSpace(4))...)
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[at]))
	h.Level, h.Type = level, kind
	h.SetLen(unix.CmsgLen(4))
	binary.NativeEndian.PutUint32(b[at+unix.CmsgLen(0):], uint32(value))
	return b
}

// serve gives an asker what comes, until ctx ends or the asker has another socket, and
// closes the socket.
func (s *pingSocket) serve(ctx context.Context, a *asker) {
	stop := context.AfterFunc(ctx, func() { s.file.Close() })
	defer stop()
	defer s.file.Close()
	b, oob := make([]byte, 1<<16), make([]byte, 512)
	_ = s.raw.Read(func(fd uintptr) bool {
		s.answers(int(fd), a, b, oob)
		s.failures(int(fd), a, b, oob)
		return false
	})
}

// close ends serve.
func (s *pingSocket) close() { s.file.Close() }

// maxPings is how much is taken at once, lest the end is not noticed.
const maxPings = 256

// answers takes the answers that are there.
func (s *pingSocket) answers(fd int, a *asker, b, oob []byte) {
	for range maxPings {
		n, m, _, from, err := unix.Recvmsg(fd, b, oob, unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EBADF) {
			return
		}
		addr, ok := addrOf(from)
		if err != nil || !ok {
			continue // an error of before, or of an earlier one
		}
		msg := b[:n]
		if s.crude && s.v4 {
			if n < ipv4Header {
				continue
			}
			head := int(msg[0]&15) * 4
			if head < ipv4Header || head > n {
				continue
			}
			msg = msg[head:]
		}
		if len(msg) < echoHeader || msg[0] != 0 && msg[0] != 129 || msg[1] != 0 || s.crude && binary.BigEndian.Uint16(msg[4:]) != s.id {
			continue
		}
		tos, ttl := numbers(oob[:m])
		a.answered(binary.BigEndian.Uint16(msg[6:]), addr, tos, ttl, msg[echoHeader:])
	}
}

// failures takes what ICMP says about requests.
func (s *pingSocket) failures(fd int, a *asker, b, oob []byte) {
	for range maxPings {
		n, m, _, _, err := unix.Recvmsg(fd, b, oob, unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
		if err != nil {
			return
		}
		// The request comes back from its ICMP header on.
		if n < echoHeader || b[0] != 8 && b[0] != 128 || s.crude && binary.BigEndian.Uint16(b[4:]) != s.id {
			continue
		}
		parts, err := unix.ParseSocketControlMessage(oob[:m])
		if err != nil {
			continue
		}
		for _, p := range parts {
			if from, kind, code, ok := extended(&p); ok {
				a.failed(binary.BigEndian.Uint16(b[6:]), from, kind, code)
			}
		}
	}
}

// extended reads a struct sock_extended_err (linux/errqueue.h) with the address behind it.
func extended(p *unix.SocketControlMessage) (from netip.Addr, kind, code uint8, ok bool) {
	d := p.Data
	four := p.Header.Level == unix.IPPROTO_IP && p.Header.Type == unix.IP_RECVERR
	if !four && (p.Header.Level != unix.IPPROTO_IPV6 || p.Header.Type != unix.IPV6_RECVERR) || len(d) < 16+unix.SizeofSockaddrInet4 {
		return from, 0, 0, false
	}
	switch {
	case four && d[4] == unix.SO_EE_ORIGIN_ICMP:
		from = netip.AddrFrom4([4]byte(d[20:]))
	case !four && d[4] == unix.SO_EE_ORIGIN_ICMP6 && len(d) >= 16+unix.SizeofSockaddrInet6:
		from = netip.AddrFrom16([16]byte(d[24:]))
	default:
		return from, 0, 0, false
	}
	return from, d[5], d[6], true
}

// numbers finds TOS and TTL among control messages.
func numbers(oob []byte) (tos, ttl uint8) {
	ttl = hopLimit
	parts, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return 0, ttl
	}
	for _, p := range parts {
		l, t := p.Header.Level, p.Header.Type
		if len(p.Data) == 0 {
			continue
		}
		n := p.Data[0] // IP_TOS is a byte
		if len(p.Data) >= 4 {
			n = uint8(binary.NativeEndian.Uint32(p.Data))
		}
		switch {
		case l == unix.IPPROTO_IP && t == unix.IP_TOS, l == unix.IPPROTO_IPV6 && t == unix.IPV6_TCLASS:
			tos = n
		case l == unix.IPPROTO_IP && t == unix.IP_TTL, l == unix.IPPROTO_IPV6 && t == unix.IPV6_HOPLIMIT:
			ttl = n
		}
	}
	return tos, ttl
}

// addrOf is the address of a sender.
func addrOf(from unix.Sockaddr) (netip.Addr, bool) {
	switch a := from.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrFrom4(a.Addr), true
	case *unix.SockaddrInet6:
		return netip.AddrFrom16(a.Addr), true
	}
	return netip.Addr{}, false
}
