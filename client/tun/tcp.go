package tun

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/mpsocks/mpsocks/mux/packet"
)

const (
	nic = 1
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
	// Those that had to go are still there for a moment.
	f := tcp.NewForwarder(s, tcpBuffer, 2*(maxConnecting+maxNames), func(r *tcp.ForwarderRequest) { d.accept(ctx, s, r) })
	s.SetTransportProtocolHandler(tcp.ProtocolNumber, f.HandlePacket)
}

// A knock is a connection that a program asks for, and waits.
type knock struct {
	request *tcp.ForwarderRequest
	id      stack.TransportEndpointID
	stack   *stack.Stack
	from    netip.AddrPort
	to      netip.AddrPort

	queue waiter.Queue
	end   tcpip.Endpoint // nil before the program has answered
}

// answer makes the connection with the program, which waits for that; false if it has gone.
func (k *knock) answer() bool {
	end, fault := k.request.CreateEndpoint(&k.queue)
	k.request.Complete(false)
	if fault != nil {
		return false
	}
	end.SocketOptions().SetDelayOption(false)
	k.end = end
	return true
}

// abort ends what there is of it in the stack.
func (k *knock) abort() {
	network := ipv6.ProtocolNumber
	if k.to.Addr().Is4() {
		network = ipv4.ProtocolNumber
	}
	if end := k.stack.FindTransportEndpoint(network, tcp.ProtocolNumber, k.id, nic); end != nil {
		end.Abort()
	}
}

// accept answers a SYN as the exit answers: refused is refused. The forwarder
// gives it a goroutine of its own, which serves the connection to its end.
func (d *Device) accept(ctx context.Context, s *stack.Stack, r *tcp.ForwarderRequest) {
	id := r.ID()
	k := &knock{request: r, id: id, stack: s, from: addrPort(id.RemoteAddress, id.RemotePort), to: addrPort(id.LocalAddress, id.LocalPort)}
	to := k.to
	if captures(d, to) {
		to = resolverBeside(to)
	}
	if resolver(to) {
		d.acceptNames(ctx, k, to)
		return
	}
	if !streamable(to) {
		d.n.refused.Add(1)
		r.Complete(true)
		return
	}
	st := d.connect(ctx, k)
	if st == nil {
		return
	}
	defer st.Close()
	end := k.end
	end.SocketOptions().SetKeepAlive(true)
	if size := share(d.n.streams.Add(1)); size < tcpBuffer {
		end.SocketOptions().SetReceiveBufferSize(size, true)
		end.SocketOptions().SetSendBufferSize(size, true)
	}
	defer d.n.streams.Add(-1)
	stop := context.AfterFunc(ctx, end.Abort)
	defer stop()
	splice(newConn(end, &k.queue), end, st)
}

// connect has the exit make the connection that a program asks for, and the program take it.
// It returns nil if there is none, which the program has been told.
func (d *Device) connect(ctx context.Context, k *knock) Stream {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p := &seat{from: k.from, to: k.to, since: time.Now(), out: func() {
		cancel()
		k.abort()
	}}
	if !d.connecting.enter(p) {
		k.request.Complete(false) // its system asks again
		return nil
	}
	defer d.connecting.leave(p)
	st, err := d.tunnel.Connect(ctx, k.from, k.to)
	if err != nil {
		k.request.Complete(true)
		return nil
	}
	stop := context.AfterFunc(ctx, k.abort) // the stack waits a minute for a program that says no more
	defer stop()
	if ctx.Err() != nil {
		k.request.Complete(true)
	} else if k.answer() {
		return st
	}
	st.Reset()
	st.Close()
	return nil
}

// acceptNames serves a connection to the resolver.
func (d *Device) acceptNames(ctx context.Context, k *knock, to netip.AddrPort) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p := &seat{from: k.from, to: k.to, since: time.Now(), out: func() {
		cancel()
		k.abort()
	}}
	if !d.asking.enter(p) {
		k.request.Complete(false)
		return
	}
	defer d.asking.leave(p)
	stop := context.AfterFunc(ctx, k.abort)
	answered := k.answer()
	stop()
	if answered {
		d.names(ctx, HolderOf(d.tunnel.Owner, packet.ProtoTCP, k.from, k.to), gonet.NewTCPConn(&k.queue, k.end), to)
	}
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
