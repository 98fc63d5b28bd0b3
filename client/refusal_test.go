package client

import (
	"encoding/binary"
	"io"
	"net/netip"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/mux/packet"
)

// An association whose port gets no mapping at the server ends, and others go on.
func TestRefusedAssociationEnds(t *testing.T) {
	f := &fakeTunnel{answer: echo}
	c := start(t, f, nil)
	refused, first := associated(t, c, anywhere)
	other, relay := associated(t, c, anywhere)
	var at *innerPort
	c.ports.each(func(p *innerPort) {
		if a, ok := p.owner.(*association); ok && a.control.RemoteAddr().String() == refused.LocalAddr().String() {
			at = p
		}
	})
	now := time.Now()
	for i, family := range []netip.Addr{packet.ServerHost4, packet.ServerHost6, packet.ServerHost4, packet.ServerHost4} {
		src := at.source(family)
		list := binary.BigEndian.AppendUint16(src.Addr().AsSlice(), src.Port())
		list = append(list, "odd"...)
		h := packet.UDP{Src: netip.AddrPortFrom(family, packet.DiscardPort), Dst: netip.AddrPortFrom(hosts4[0], packet.DiscardPort)}
		if family.Is6() {
			h.Dst = netip.AddrPortFrom(hosts6[0], packet.DiscardPort)
		}
		forged := h
		forged.Src = netip.AddrPortFrom(family, packet.DiscardPort+1)
		if takeRefusals(c, &forged, list, now) {
			t.Error("another port of the server's is believed")
		}
		if i == 2 { // there was room meanwhile
			newApp(t, "127.0.0.1", first).echoes(t, "192.0.2.1:7", []byte("x"))
		}
		if i < 3 && c.Status().Associations != 2 {
			t.Fatal("one that may get room in a moment has ended")
		}
		if !takeRefusals(c, &h, list, now) {
			t.Error("the news is not taken")
		}
		if now = now.Add(refusalTime / 2); i == 2 {
			now = now.Add(refusalTime)
		}
	}
	refused.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := refused.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the program that was refused reads %v", err)
	}
	eventually(t, "one association is left", func() bool { return c.Status().Associations == 1 })
	newApp(t, "127.0.0.1", relay).echoes(t, "192.0.2.1:7", []byte("x"))
	other.Close()
}
