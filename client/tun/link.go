package tun

import (
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// A writer gives packets to the kernel. head is a virtio-net header; false says
// that the kernel did not take it.
type writer interface {
	writePacket(head *[vnetLen]byte, parts [][]byte) bool
}

// link is the network interface of the TCP stack: what the stack sends goes to
// the device at once, in pieces of up to 64 KiB that the kernel cuts where it
// has to. It is safe for concurrent use.
type link struct {
	out        writer
	dispatcher stack.NetworkDispatcher // set once, before the device is read
	offload    bool                    // the kernel cuts and sums
	cuts       bool                    // UDP, too
	mtu        uint32                  // 0 = MTU
}

var (
	_ stack.LinkEndpoint = (*link)(nil)
	_ stack.GSOEndpoint  = (*link)(nil)
)

// gsoMax is the longest piece that the stack makes.
const gsoMax = 65535 - 128

// write gives one whole packet to the kernel.
func (l *link) write(b []byte) bool {
	var head [vnetLen]byte
	return l.out.writePacket(&head, [][]byte{b})
}

// inject gives a packet with TCP to the stack. b is copied.
func (l *link) inject(b []byte, four bool) { l.deliver(buffer.MakeWithData(b), four) }

// deliver is inject with a packet that the stack then owns.
func (l *link) deliver(b buffer.Buffer, four bool) {
	p := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: b})
	proto := ipv6.ProtocolNumber
	if four {
		proto = ipv4.ProtocolNumber
	}
	l.dispatcher.DeliverNetworkPacket(proto, p)
	p.DecRef()
}

// WritePackets implements stack.LinkWriter.
func (l *link) WritePackets(pkts stack.PacketBufferList) (int, tcpip.Error) {
	n := 0
	for _, p := range pkts.AsSlice() {
		var v vnet
		if g := &p.GSOOptions; g.Type != stack.GSONone {
			v.header = uint16(p.HeaderSize())
			if g.NeedsCsum {
				v.flags, v.start, v.offset = vnetNeedsCsum, g.L3HdrLen, g.CsumOffset
			}
			if p.Data().Size() > int(g.MSS) {
				v.size, v.kind = g.MSS, vnetGSOTCP4
				if g.Type == stack.GSOTCPv6 {
					v.kind = vnetGSOTCP6
				}
			}
		}
		var head [vnetLen]byte
		v.put(&head)
		if !l.out.writePacket(&head, p.AsSlices()) {
			return n, &tcpip.ErrNoBufferSpace{}
		}
		n++
	}
	return n, nil
}

// Attach implements stack.NetworkLinkEndpoint.
func (l *link) Attach(d stack.NetworkDispatcher) { l.dispatcher = d }

// IsAttached implements stack.NetworkLinkEndpoint.
func (l *link) IsAttached() bool { return l.dispatcher != nil }

// MTU implements stack.NetworkLinkEndpoint.
func (l *link) MTU() uint32 {
	if l.mtu != 0 {
		return l.mtu
	}
	return MTU
}

// SetMTU implements stack.NetworkLinkEndpoint; the device's never changes.
func (l *link) SetMTU(uint32) {}

// Capabilities implements stack.NetworkLinkEndpoint: the kernel on the other side
// of the device is this machine's own, so that its checksums are not made.
func (l *link) Capabilities() stack.LinkEndpointCapabilities {
	return stack.CapabilityRXChecksumOffload
}

// GSOMaxSize implements stack.GSOEndpoint.
func (l *link) GSOMaxSize() uint32 { return gsoMax }

// SupportedGSO implements stack.GSOEndpoint.
func (l *link) SupportedGSO() stack.SupportedGSO {
	if l.offload {
		return stack.HostGSOSupported
	}
	return stack.GSONotSupported
}

// The rest of stack.LinkEndpoint: a device of IP packets has no link layer.

func (l *link) MaxHeaderLength() uint16                 { return 0 }
func (l *link) LinkAddress() tcpip.LinkAddress          { return "" }
func (l *link) SetLinkAddress(tcpip.LinkAddress)        {}
func (l *link) Wait()                                   {}
func (l *link) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareNone }
func (l *link) AddHeader(*stack.PacketBuffer)           {}
func (l *link) ParseHeader(*stack.PacketBuffer) bool    { return true }
func (l *link) Close()                                  {}
func (l *link) SetOnCloseAction(func())                 {}
