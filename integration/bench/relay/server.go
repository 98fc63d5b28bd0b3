//go:build linux

package relay

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/mpsocks/mpsocks/integration/bench/mmsg"
)

// headerLen is a SOCKS UDP header with an IPv4 address; the bench uses no
// other.
const headerLen = 10

// server is the half on the other side: a socket per association, one loop.
type server struct {
	link    *link
	poller  *mmsg.Poller
	sockets [1 << 16]int32 // file descriptor + 1; 0 is none
}

// Server waits for its client on loopback, hands the address to ready and
// relays until the process ends.
func Server(ready func(netip.AddrPort)) error {
	listener, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("tunnel: %w", err)
	}
	if err := unix.Bind(listener, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return fmt.Errorf("tunnel: %w", err)
	}
	if err := unix.Listen(listener, 1); err != nil {
		return fmt.Errorf("tunnel: %w", err)
	}
	name, err := unix.Getsockname(listener)
	if err != nil {
		return fmt.Errorf("tunnel: %w", err)
	}
	ready(netip.AddrPortFrom(loopback.Addr(), uint16(name.(*unix.SockaddrInet4).Port)))
	fd, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
	if err != nil {
		return fmt.Errorf("tunnel: %w", err)
	}
	s := &server{}
	if s.link, err = newLink(fd); err != nil {
		return err
	}
	if s.poller, err = mmsg.NewPoller(); err != nil {
		return err
	}
	return s.run()
}

// run is the loop that all datagrams pass.
func (s *server) run() error {
	if err := s.poller.Add(s.link.fd, tunnelID); err != nil {
		return err
	}
	receiver, sender, waiting := mmsg.NewReceiver(largest, true), mmsg.NewSender(), false
	for {
		n, err := s.poller.Wait(-1)
		if err != nil {
			return err
		}
		for i := range n {
			if id := s.poller.Ready(i); id != tunnelID {
				s.down(uint16(id), receiver)
			} else if err := s.up(sender); err != nil {
				return err
			}
		}
		left, err := s.link.flush()
		if err != nil {
			return err
		}
		if left != waiting {
			waiting = left
			if err := s.poller.Output(s.link.fd, tunnelID, waiting); err != nil {
				return err
			}
		}
	}
}

// up sends on what the client has relayed.
func (s *server) up(out *mmsg.Sender) error {
	if more, err := s.link.fill(); !more || err != nil {
		return err
	}
	fd := -1
	for {
		id, data, ok := s.link.next()
		if !ok {
			out.Flush(fd)
			return nil
		}
		if len(data) == 0 {
			out.Flush(fd)
			fd = -1
			s.end(id)
			continue
		}
		if len(data) < headerLen || data[3] != 1 {
			return errProtocol
		}
		socket, err := s.socket(id)
		if err != nil {
			return err
		}
		if socket != fd || out.Full() {
			out.Flush(fd)
			fd = socket
		}
		dst := netip.AddrPortFrom(netip.AddrFrom4([4]byte(data[4:8])), binary.BigEndian.Uint16(data[8:]))
		out.Add(data[headerLen:], dst)
	}
}

// socket is the association's own, opened with its first datagram.
func (s *server) socket(id uint16) (int, error) {
	if fd := s.sockets[id]; fd != 0 {
		return int(fd) - 1, nil
	}
	fd, _, err := mmsg.Listen(netip.AddrPortFrom(netip.IPv4Unspecified(), 0), false, 0)
	if err != nil {
		return -1, err
	}
	s.sockets[id] = int32(fd) + 1
	return fd, s.poller.Add(fd, int32(id))
}

// end closes an association's socket; nothing may be gathered for it.
func (s *server) end(id uint16) {
	if fd := s.sockets[id]; fd != 0 {
		s.sockets[id] = 0
		_ = unix.Close(int(fd) - 1)
	}
}

// down relays what the world has answered.
func (s *server) down(id uint16, r *mmsg.Receiver) {
	fd := s.sockets[id]
	if fd == 0 {
		return
	}
	n, err := r.Receive(int(fd) - 1)
	if err != nil {
		return // EAGAIN, or the destination's ICMP error
	}
	head := [headerLen]byte{3: 1}
	for i := range n {
		source := r.Source(i)
		addr := source.Addr().As4()
		copy(head[4:], addr[:])
		binary.BigEndian.PutUint16(head[8:], source.Port())
		s.link.put(id, head[:], r.Data(i))
	}
}
