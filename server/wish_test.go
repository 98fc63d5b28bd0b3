package server

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mpsocks/mpsocks/mux"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// What the client asks for its ports reaches the session; what a program says in its
// place, or what is none, does not.
func TestWishes(t *testing.T) {
	s := testServer(t, nil, nil)
	sess := newFakeSession()
	p := newPeer(s, "laptop", sess)
	udp := packet.End{Proto: packet.ProtoUDP, Host: 2, Port: 4000}
	tcp := packet.End{Proto: packet.ProtoTCP, Host: 3, Port: 4000}
	list := func(all ...packet.Wish) (b []byte) {
		for i := range all {
			b = all[i].Append(b)
		}
		return b
	}
	tell := func(from netip.AddrPort, payload []byte) {
		p.Deliver([][]byte{makePacket(from, netip.AddrPortFrom(packet.ServerHost4, packet.WishPort), 0, 0, payload)})
	}
	client := netip.AddrPortFrom(packet.ClientHost4, packet.DiscardPort)
	good := list(packet.Wish{At: udp, Class: uint8(mux.ClassBackup), Paths: 5}, packet.Wish{At: tcp, Class: packet.WishNoClass, Paths: 2})
	tell(inner4(1), good)
	if len(sess.wishes.Last()) != 0 {
		t.Errorf("a program's word counts: %v", sess.wishes.Last())
	}
	tell(client, good)
	if diff := cmp.Diff(map[packet.End]mux.Wish{udp: {Class: mux.ClassBackup, Asked: true, IDs: 5}, tcp: {IDs: 2}}, sess.wishes.Last()); diff != "" {
		t.Error(diff)
	}
	tell(client, list(packet.Wish{At: udp, Class: packet.WishNoClass}))
	if w := sess.wishes.Last()[udp]; !w.Empty() {
		t.Errorf("%+v after the end", w)
	}
	sess.wishes.Forget()
	for class := 5; class < packet.WishNoClass; class++ {
		tell(client, list(packet.Wish{At: udp, Class: uint8(class)}))
	}
	tell(client, nil)
	tell(client, good[:len(good)-1])
	if len(sess.wishes.Last()) != 0 {
		t.Errorf("%+v of what is no wish", sess.wishes.Last())
	}
	if n := s.drops.snapshot()["service"]; n != packet.WishNoClass-5+2 {
		t.Errorf("%d were dropped", n)
	}
}
