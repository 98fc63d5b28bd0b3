package tun

import (
	"context"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// discard is a stack that hears nothing.
type discard struct{}

func (discard) DeliverNetworkPacket(tcpip.NetworkProtocolNumber, *stack.PacketBuffer) {}
func (discard) DeliverLinkPacket(tcpip.NetworkProtocolNumber, *stack.PacketBuffer)    {}

// wire gives what one stack sends to another Device, and back, in order, until it is cut.
type wire struct {
	ch   chan []byte
	done chan struct{}
	stop sync.WaitGroup
}

func newWire(to func(b []byte)) *wire {
	w := &wire{ch: make(chan []byte, 4096), done: make(chan struct{})}
	w.stop.Go(func() {
		for {
			select {
			case b := <-w.ch:
				to(b)
			case <-w.done:
				return
			}
		}
	})
	return w
}

// cut ends it; what the stacks still send is lost.
func (w *wire) cut() {
	close(w.done)
	w.stop.Wait()
}

func (w *wire) writePacket(_ *[vnetLen]byte, parts [][]byte) bool {
	var b []byte
	for _, p := range parts {
		b = append(b, p...)
	}
	select {
	case w.ch <- b:
	case <-w.done:
	}
	return true
}

// host is another stack at the far side of a device: the programs' kernel.
func host(t *testing.T, d *Device) *stack.Stack {
	t.Helper()
	s, err := newStack(d.link)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	d.serveTCP(ctx, s)
	programs := &link{}
	out := newWire(func(b []byte) { take(d, &vnet{}, b) })
	programs.out = out
	p, err := newStack(programs)
	if err != nil {
		t.Fatal(err)
	}
	attached := programs.dispatcher // which Close takes away
	back := newWire(func(b []byte) {
		pk := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(b)})
		attached.DeliverNetworkPacket(ipv4.ProtocolNumber, pk)
		pk.DecRef()
	})
	d.link.out = back
	t.Cleanup(func() {
		cancel()
		out.cut()
		back.cut()
		p.Close()
		p.Wait()
		s.Close()
		s.Wait()
	})
	return p
}

func dial(ctx context.Context, s *stack.Stack) (*gonet.TCPConn, error) {
	return dialAt(ctx, s, netip.AddrPortFrom(dst4.Addr(), 80))
}

func dialAt(ctx context.Context, s *stack.Stack, to netip.AddrPort) (*gonet.TCPConn, error) {
	local := tcpip.FullAddress{NIC: nic, Addr: tcpip.AddrFromSlice(src4.Addr().AsSlice())}
	remote := tcpip.FullAddress{NIC: nic, Addr: tcpip.AddrFromSlice(to.Addr().AsSlice()), Port: to.Port()}
	return gonet.DialTCPWithBind(ctx, s, local, remote, ipv4.ProtocolNumber)
}

// A connection is made when the exit has answered, carries both ways and passes
// on the end of each direction.
func TestTCP(t *testing.T) {
	d, tunnel, _ := newDevice()
	tunnel.streams = make(chan net.Conn, 1)
	s := host(t, d)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn, err := dial(ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	exit := <-tunnel.streams
	go conn.Write([]byte("question"))
	b := make([]byte, 8)
	if _, err := io.ReadFull(exit, b); err != nil || string(b) != "question" {
		t.Fatalf("the exit got %q, %v", b, err)
	}
	go func() {
		exit.Write([]byte("answer"))
		exit.Close()
	}()
	if all, err := io.ReadAll(conn); err != nil || string(all) != "answer" {
		t.Fatalf("the program got %q, %v", all, err)
	}
}

// Refused is refused, at once.
func TestTCPRefused(t *testing.T) {
	d, _, _ := newDevice()
	s := host(t, d)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	began := time.Now()
	if conn, err := dial(ctx, s); err == nil {
		conn.Close()
		t.Fatal("connected")
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("refused after %v", took)
	}
}
