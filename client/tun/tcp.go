package tun

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

const (
	nic = 1
	// maxConnecting is how many SYNs wait for the exit's answer at once.
	maxConnecting = 1024
	// tcpBuffer is what a connection may hold in each direction. The stack promises the
	// program half of it as the window, and the kernel's pieces have 64 KiB: with less than a
	// dozen under way the program waits for the stack's goroutines. The way behind is the
	// stream's, which has windows of its own.
	tcpBuffer = 2 << 20
	// tcpBudget is what all of a device's connections may hold in each direction: when there
	// are many each new one has less, and minBuffer at least.
	tcpBudget = 64 << 20
	minBuffer = 64 << 10
)

// share is what one of n connections may hold in each direction.
func share(n int64) int64 { return max(minBuffer, min(tcpBuffer, tcpBudget/max(n, 1))) }

// newStack makes the stack that ends TCP for every address.
func newStack(l *link) (*stack.Stack, error) {
	s := stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocolWithOptions(ipv4.Options{AllowExternalLoopbackTraffic: true}), ipv6.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol},
	})
	sack := tcpip.TCPSACKEnabled(true)
	moderate := tcpip.TCPModerateReceiveBufferOption(false)
	receive := tcpip.TCPReceiveBufferSizeRangeOption{Min: 4096, Default: tcpBuffer, Max: tcpBuffer}
	send := tcpip.TCPSendBufferSizeRangeOption{Min: 4096, Default: tcpBuffer, Max: tcpBuffer}
	for _, o := range []tcpip.SettableTransportProtocolOption{&sack, &moderate, &receive, &send} {
		if err := s.SetTransportProtocolOption(tcp.ProtocolNumber, o); err != nil {
			return nil, fmt.Errorf("tun: TCP option %T: %s", o, err)
		}
	}
	err := s.CreateNIC(nic, l)
	if err == nil {
		err = s.SetPromiscuousMode(nic, true) // it ends connections to every address,
	}
	if err == nil {
		err = s.SetSpoofing(nic, true) // and answers from them
	}
	if err != nil {
		return nil, fmt.Errorf("tun: network interface of the TCP stack: %s", err)
	}
	s.SetRouteTable([]tcpip.Route{
		{Destination: header.IPv4EmptySubnet, NIC: nic},
		{Destination: header.IPv6EmptySubnet, NIC: nic},
	})
	return s, nil
}

// serveTCP lets the stack ask the exit for each connection, until ctx ends.
func (d *Device) serveTCP(ctx context.Context, s *stack.Stack) {
	f := tcp.NewForwarder(s, tcpBuffer, maxConnecting, func(r *tcp.ForwarderRequest) { d.accept(ctx, r) })
	s.SetTransportProtocolHandler(tcp.ProtocolNumber, f.HandlePacket)
}

// accept answers a SYN as the exit answers: refused is refused. The forwarder
// gives it a goroutine of its own, which serves the connection to its end.
func (d *Device) accept(ctx context.Context, r *tcp.ForwarderRequest) {
	id := r.ID()
	from := addrPort(id.RemoteAddress, id.RemotePort)
	to := addrPort(id.LocalAddress, id.LocalPort)
	if captures(d, to) {
		to = resolverBeside(to)
	}
	if resolver(to) {
		d.acceptNames(ctx, r, to)
		return
	}
	if !streamable(to) {
		d.n.refused.Add(1)
		r.Complete(true)
		return
	}
	st, err := d.tunnel.Connect(ctx, from, to)
	if err != nil {
		r.Complete(true)
		return
	}
	defer st.Close()
	var queue waiter.Queue
	end, fault := r.CreateEndpoint(&queue)
	if fault != nil {
		r.Complete(false)
		st.Reset()
		return
	}
	r.Complete(false)
	end.SocketOptions().SetDelayOption(false)
	end.SocketOptions().SetKeepAlive(true)
	if size := share(d.n.streams.Add(1)); size < tcpBuffer {
		end.SocketOptions().SetReceiveBufferSize(size, true)
		end.SocketOptions().SetSendBufferSize(size, true)
	}
	defer d.n.streams.Add(-1)
	stop := context.AfterFunc(ctx, end.Abort)
	defer stop()
	splice(newConn(end, &queue), end, st)
}

// acceptNames serves a connection to the resolver.
func (d *Device) acceptNames(ctx context.Context, r *tcp.ForwarderRequest, to netip.AddrPort) {
	defer d.n.names.Add(-1)
	if d.n.names.Add(1) > maxNames {
		d.n.refused.Add(1)
		r.Complete(true)
		return
	}
	var queue waiter.Queue
	end, fault := r.CreateEndpoint(&queue)
	r.Complete(false)
	if fault != nil {
		return
	}
	end.SocketOptions().SetDelayOption(false)
	d.names(ctx, gonet.NewTCPConn(&queue, end), to)
}

// splice copies both ways until both are done. The end of one direction is
// passed on as such, a failure as a reset.
func splice(conn *conn, end tcpip.Endpoint, st Stream) {
	up := make(chan struct{})
	go func() { // ends when the program closes, or with the reset below
		defer close(up)
		if _, err := io.Copy(st, conn); err != nil || st.CloseWrite() != nil {
			st.Reset()
			end.Abort()
		}
	}()
	_, err := io.Copy(conn, st)
	if err == nil {
		err = conn.CloseWrite()
	}
	if err != nil {
		st.Reset()
		end.Abort()
	}
	<-up
	conn.Close()
}

// streamable says whether a connection to there can be asked for.
func streamable(to netip.AddrPort) bool {
	return to.Port() != 0 && !own4.Contains(to.Addr()) && !own6.Contains(to.Addr()) && !to.Addr().IsMulticast()
}

func addrPort(a tcpip.Address, port uint16) netip.AddrPort {
	addr, _ := netip.AddrFromSlice(a.AsSlice())
	return netip.AddrPortFrom(addr, port)
}

// ErrRefused is what Tunnel.Connect returns when the destination refused.
var ErrRefused = errors.New("the exit was refused")
