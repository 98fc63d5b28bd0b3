package dialer

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
)

// Way is what a path's sockets are bound to; the zero value is the default route.
type Way struct {
	Interface   string
	Local       netip.Addr // or invalid
	KernelMPTCP bool
	Mark        uint32 // of the sockets (SO_MARK, Linux), for rules of routing; 0 = none
}

// Dialer makes TCP connections by the way. mss, in bytes, bounds the segments of
// both directions (RFC 9293, Section 3.7.1); 0 = as the interface has it. prepare, if any, sets a
// socket's options.
func (w *Way) Dialer(mss int, prepare func(syscall.RawConn)) *net.Dialer {
	d := &net.Dialer{KeepAlive: -1} // the engine asks itself, and far less
	d.SetMultipathTCP(w.KernelMPTCP)
	if w.Local.IsValid() {
		d.LocalAddr = &net.TCPAddr{IP: w.Local.AsSlice(), Zone: w.Local.Zone()}
	}
	if w.Interface == "" && !w.Local.IsValid() && mss == 0 && w.Mark == 0 && prepare == nil {
		return d
	}
	d.ControlContext = func(_ context.Context, network, _ string, raw syscall.RawConn) error {
		if w.Local.IsValid() && strings.HasPrefix(network, "tcp") {
			bindLater(raw)
		}
		if prepare != nil {
			prepare(raw)
		}
		if mss != 0 {
			clamp(raw, mss)
		}
		if w.Mark != 0 {
			if err := setMark(raw, w.Mark); err != nil {
				return fmt.Errorf("mark the socket: %w", err)
			}
		}
		if w.Interface == "" {
			return nil
		}
		if err := bindInterface(raw, network, w.Interface); err != nil {
			return fmt.Errorf("bind to interface %s: %w", w.Interface, err)
		}
		return nil
	}
	return d
}

// dialResolver reaches a name server by the way.
func (w *Way) dialResolver(ctx context.Context, network, address string) (net.Conn, error) {
	if w.Mark != 0 {
		address = beyondStub(address)
	}
	d := w.Dialer(0, nil)
	d.SetMultipathTCP(false)
	if w.Local.IsValid() && strings.HasPrefix(network, "udp") {
		d.LocalAddr = &net.UDPAddr{IP: w.Local.AsSlice(), Zone: w.Local.Zone()}
	}
	return d.DialContext(ctx, network, address)
}

// binding names what the way is bound to; "" is the default route without a mark.
func (w *Way) binding() string {
	if w.Mark != 0 {
		return fmt.Sprintf("%s %v mark %d", w.Interface, w.Local, w.Mark)
	}
	if w.Local.IsValid() {
		return w.Interface + " " + w.Local.String()
	}
	return w.Interface
}
