//go:build !linux || mpsocks_portable

package udpio

import (
	"errors"
	"net"
	"net/netip"
	"syscall"

	"github.com/mpsocks/mpsocks/mux/errno"
)

// A Writer sends datagrams on any number of Conns. This portable one sends
// each at once, without an explicit TOS: ECN then reads Not-ECT, which claims
// nothing that the network could contradict. It belongs to one goroutine at a
// time; several Writers may send on the same Conn.
type Writer struct {
	sent, dropped int
	stats         counters
}

// NewWriter returns a Writer.
func NewWriter() *Writer { return &Writer{} }

// Add sends a datagram on a Conn. The destination is the zero AddrPort on a
// connected Conn. Callers leave the payload alone until Flush, as the Linux
// Writer needs.
func (w *Writer) Add(c *Conn, dst netip.AddrPort, _ uint8, payload []byte) {
	if !dst.Addr().IsValid() {
		peer := c.peer.Load()
		if peer == nil {
			w.drop(DropMisaddressed)
			return
		}
		dst = *peer
	}
	dst = netip.AddrPortFrom(dst.Addr().Unmap(), dst.Port())
	if dst.Addr().Is6() != c.v6 {
		w.drop(DropMisaddressed)
		return
	}
	w.stats.calls.Add(1)
	_, err := c.udp.WriteToUDPAddrPort(payload, dst)
	if dropReason(err) == DropUnreachable {
		// Possibly the ICMP answer to an earlier datagram, or a firewall that
		// has not seen the fresh socket yet: once more.
		w.stats.errors.Add(1)
		_, err = c.udp.WriteToUDPAddrPort(payload, dst)
	}
	if err != nil {
		w.drop(dropReason(err))
		return
	}
	w.sent++
	w.stats.datagrams.Add(1)
}

// AddTTL is Add: nor does this Writer set a time to live.
func (w *Writer) AddTTL(c *Conn, dst netip.AddrPort, tos, _ uint8, payload []byte) {
	w.Add(c, dst, tos, payload)
}

// Flush returns how many datagrams were sent and dropped since it last did.
func (w *Writer) Flush() (sent, dropped int) {
	sent, dropped = w.sent, w.dropped
	w.sent, w.dropped = 0, 0
	return sent, dropped
}

// Stats returns the counters; any goroutine may call it.
func (w *Writer) Stats() Stats { return w.stats.snapshot() }

func (w *Writer) drop(reason DropReason) {
	w.dropped++
	w.stats.drops[reason].Add(1)
}

// dropReason classes an error of a send; dropReasons if there is none.
func dropReason(err error) DropReason {
	if err == nil {
		return dropReasons
	}
	var number syscall.Errno
	switch {
	case errors.Is(err, net.ErrClosed):
		return DropClosed
	case !errors.As(err, &number):
		return DropOther
	}
	switch number {
	case errno.Again, errno.NoBufs:
		return DropFull
	case errno.TooLong:
		return DropTooLong
	case errno.Refused, errno.HostUnreach, errno.NetUnreach, errno.Access, syscall.EPERM:
		return DropUnreachable
	}
	return DropOther
}
