package conf

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"strconv"
)

// noteEndpoint checks what forwards and published ports have in common.
func noteEndpoint(p *Errors, field string, listen Endpoint, to string, proto Proto) {
	if !listen.Addr.IsValid() {
		p.addf(field+".listen", "is missing")
	} else if n := listen.Ports.Len(); n > maxForwardPorts {
		p.addf(field+".listen", "%d ports are more than %d", n, maxForwardPorts)
	}
	if to == "" {
		p.addf(field+".to", "is missing")
	} else if host, ports, err := splitDestination(to); err != nil {
		noteHostPort(p, field+".to", to) // in the same words as elsewhere
	} else {
		noteHostPort(p, field+".to", net.JoinHostPort(host, strconv.Itoa(int(ports.From))))
		if a, b := listen.Ports.Len(), ports.Len(); listen.Addr.IsValid() && a != b {
			p.addf(field+".to", "%s has %d ports, and listen has %d: each leads to one", to, b, a)
		}
	}
	if proto != "" {
		noteOneOf(p, field+".proto", proto, ProtoUDP, ProtoTCP, ProtoBoth)
	}
}

func (c *Client) validateForwards(p *Errors) {
	for i, f := range c.Forwards {
		field := fmt.Sprintf("forwards[%d]", i)
		for j, o := range c.Forwards[:i] {
			if f.Listen.overlaps(o.Listen) && f.proto().meets(o.proto()) {
				p.addf(field+".listen", "%s is taken by forwards[%d]", f.Listen, j)
			}
		}
		noteEndpoint(p, field, f.Listen, f.To, f.Proto)
		for j, l := range c.Listen {
			if l.IsValid() && f.Listen.overlaps(EndpointOf(l)) && f.proto().meets(ProtoTCP) {
				p.addf(field+".listen", "%s is taken by listen[%d]", f.Listen, j)
			}
		}
	}
	for i, f := range c.Publish {
		field := fmt.Sprintf("publish[%d]", i)
		noteEndpoint(p, field, f.Listen, f.To, f.Proto)
		for j, o := range c.Publish[:i] {
			if f.Listen.overlaps(o.Listen) && f.proto().meets(o.proto()) {
				p.addf(field+".listen", "%s is taken by publish[%d]", f.Listen, j)
			}
		}
	}
}

func (c *Client) validateRedirect(p *Errors) {
	noteListen(p, "redirect.listen", c.Redirect.Listen)
	noteRange(p, "mark", c.Mark, 0, math.MaxInt32)
	for i, r := range c.Redirect.Listen {
		field := fmt.Sprintf("redirect.listen[%d]", i)
		for j, l := range c.Listen {
			if r.IsValid() && l.IsValid() && overlap(r, l) {
				p.addf(field, "%s is taken by listen[%d]", r, j)
			}
		}
		for j, f := range c.Forwards {
			if r.IsValid() && f.Listen.overlaps(EndpointOf(r)) {
				p.addf(field, "%s is taken by forwards[%d]", r, j)
			}
		}
	}
}

// overlaps says whether two endpoints have an address and a port in common.
func (e Endpoint) overlaps(o Endpoint) bool {
	if !e.Addr.IsValid() || !o.Addr.IsValid() || e.Ports.From > o.Ports.To || o.Ports.From > e.Ports.To {
		return false
	}
	return overlap(netip.AddrPortFrom(e.Addr, 1), netip.AddrPortFrom(o.Addr, 1))
}
