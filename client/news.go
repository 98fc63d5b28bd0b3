package client

import (
	"encoding/binary"
	"net/netip"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// maxNewsLen is the payload of one datagram of news, which is then as small as
// others.
const maxNewsLen = 1200

// news gathers inner ports, in the family of one of the server's addresses, to
// tell the server of them in as few datagrams as they take. It comes from a port
// that no application gets, which the server looks at.
type news struct {
	client *Client
	to     netip.AddrPort
	list   []byte
	sent   bool
}

// add appends a port, and sends what there is before if that is full.
func (n *news) add(p *innerPort) {
	src := p.source(n.to.Addr())
	if len(n.list)+src.Addr().BitLen()/8+2 > maxNewsLen {
		n.send()
	}
	n.list = append(n.list, src.Addr().AsSlice()...)
	n.list = binary.BigEndian.AppendUint16(n.list, src.Port())
}

// send queues what there is, and says whether anything was sent so far.
func (n *news) send() bool {
	if len(n.list) == 0 {
		return n.sent
	}
	from := innerPort{port: packet.DiscardPort}
	h := packet.UDP{Src: from.source(n.to.Addr()), Dst: n.to, TTL: innerTTL}
	b := buf.Get(len(n.list))
	copy(b.Bytes(), n.list)
	packet.PutUDP(b.Prepend(h.Overhead(len(n.list))), &h)
	n.client.tunnel.Send(&n.client.ends.source, []*buf.Buffer{b})
	n.list, n.sent = n.list[:0], true
	return true
}
