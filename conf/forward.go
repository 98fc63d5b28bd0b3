package conf

import (
	"fmt"
	"net/netip"
	"strings"
)

// Proto says which protocols a forward or a published port carries.
type Proto string

// The protocols.
const (
	ProtoUDP  Proto = "udp"
	ProtoTCP  Proto = "tcp"
	ProtoBoth Proto = "both"
)

// maxForwardPorts is how many ports one range of a forward or of a published one
// may have: each is a socket, or two.
const maxForwardPorts = 1024

// Endpoint is a local address with a port or a range of them, written
// 127.0.0.1:53, [::1]:6000-6010, or :25565 for every address.
type Endpoint struct {
	Addr  netip.Addr
	Ports PortRange
}

// EndpointOf is the endpoint of one port.
func EndpointOf(a netip.AddrPort) Endpoint {
	return Endpoint{a.Addr(), PortRange{a.Port(), a.Port()}}
}

// UnmarshalText reads an endpoint.
func (e *Endpoint) UnmarshalText(text []byte) error {
	in := strings.TrimSpace(string(text))
	i := strings.LastIndexByte(in, ':')
	if i < 0 {
		return fmt.Errorf("%q is not address:port or address:from-to", shorten(in))
	}
	var out Endpoint
	if err := out.Ports.UnmarshalText([]byte(in[i+1:])); err != nil || out.Ports.IsZero() {
		return fmt.Errorf("%q has no port, such as 53, or range of ports, such as 6000-6010", shorten(in))
	}
	host := in[:i]
	bare, bracketed := strings.CutPrefix(host, "[")
	if bracketed {
		bare, bracketed = strings.CutSuffix(bare, "]")
	}
	switch a, err := netip.ParseAddr(bare); {
	case host == "":
		out.Addr = netip.IPv6Unspecified()
	case err != nil || bracketed == a.Is4():
		return fmt.Errorf("%q is not address:port, such as 127.0.0.1:53 or [::1]:53", shorten(in))
	default:
		out.Addr = a
	}
	*e = out
	return nil
}

// String is the reverse of UnmarshalText.
func (e Endpoint) String() string {
	if !e.Addr.IsValid() {
		return ""
	}
	host := e.Addr.String()
	if e.Addr.Is6() {
		host = "[" + host + "]"
	}
	return host + ":" + e.Ports.String()
}

// Forward is a fixed way through the tunnel, for programs that speak to no proxy.
type Forward struct {
	// Listen is the local address, with a port or a range of them.
	Listen Endpoint `mapstructure:"listen"`
	// To is host:port, or host:from-to for a range of the same length; the name is
	// resolved at the server.
	To string `mapstructure:"to"`
	// Proto is udp, tcp or both; left out it is udp, and both for port 53, for
	// name servers are asked by TCP when an answer is long.
	Proto Proto `mapstructure:"proto"`
}

// Publish is a port at the server that leads to a program here.
type Publish struct {
	// Listen is the port at the server, or a range of them: ":25565". With an
	// address, the server listens at that of its own.
	Listen Endpoint `mapstructure:"listen"`
	// To is host:port of the program, or host:from-to, as the client sees it.
	To string `mapstructure:"to"`
	// Proto is udp, tcp or both; left out it is both.
	Proto Proto `mapstructure:"proto"`
	// ProxyProtocol has each TCP connection to the program begin with a header
	// that tells who it is from (PROXY protocol, version 2); where Proto is udp, each
	// datagram.
	ProxyProtocol bool `mapstructure:"proxy_protocol"`
}

// Route is one port of a forward or of a published one, of one protocol.
type Route struct {
	Listen netip.AddrPort
	// Host and Port are the destination; the host may be a name.
	Host string
	Port uint16
	// Proto is ProtoUDP or ProtoTCP.
	Proto Proto
	// ProxyProtocol is Publish's.
	ProxyProtocol bool
}

// To is the destination, host:port.
func (r Route) To() string {
	if strings.Contains(r.Host, ":") {
		return fmt.Sprintf("[%s]:%d", r.Host, r.Port)
	}
	return fmt.Sprintf("%s:%d", r.Host, r.Port)
}

// Routes are the forward's ports one by one; the forward is valid.
func (f Forward) Routes() []Route {
	return routes(f.Listen, f.To, f.proto(), false)
}

// proto is Proto, or what it is when left out.
func (f Forward) proto() Proto {
	_, ports, _ := splitDestination(f.To)
	switch {
	case f.Proto != "":
		return f.Proto
	case ports.From <= 53 && 53 <= ports.To:
		return ProtoBoth
	}
	return ProtoUDP
}

// Routes are the published ports one by one; it is valid.
func (p Publish) Routes() []Route {
	return routes(p.Listen, p.To, p.proto(), p.ProxyProtocol)
}

// proto is Proto, or what it is when left out.
func (p Publish) proto() Proto {
	if p.Proto == "" {
		return ProtoBoth
	}
	return p.Proto
}

// meets says whether two settings have a protocol in common.
func (p Proto) meets(o Proto) bool { return p == o || p == ProtoBoth || o == ProtoBoth }

func routes(listen Endpoint, to string, proto Proto, header bool) (out []Route) {
	host, ports, err := splitDestination(to)
	if err != nil {
		return []Route{{Listen: netip.AddrPortFrom(listen.Addr, listen.Ports.From), Host: to, Proto: proto}} // no port: refused
	}
	for i := range max(listen.Ports.Len(), 1) {
		at, port := listen.Ports.From+uint16(i), ports.From+uint16(i)
		for _, p := range []Proto{ProtoUDP, ProtoTCP} {
			if proto == p || proto == ProtoBoth {
				// Who speaks both mostly wants the header by TCP alone, as web servers do.
				tells := header && (p == ProtoTCP || proto == ProtoUDP)
				out = append(out, Route{netip.AddrPortFrom(listen.Addr, at), host, port, p, tells})
			}
		}
	}
	return out
}

// splitDestination reads host:port or host:from-to.
func splitDestination(to string) (host string, ports PortRange, err error) {
	i := strings.LastIndexByte(to, ':')
	if i <= 0 {
		return "", ports, fmt.Errorf("%q is not host:port or host:from-to", shorten(to))
	}
	if err := ports.UnmarshalText([]byte(to[i+1:])); err != nil || ports.IsZero() {
		return "", ports, fmt.Errorf("%q has no port from 1 to 65535, nor a range of them", shorten(to))
	}
	host = to[:i]
	if bare, ok := strings.CutPrefix(host, "["); ok {
		if bare, ok = strings.CutSuffix(bare, "]"); !ok {
			return "", ports, fmt.Errorf("%q lacks its closing bracket", shorten(to))
		}
		host = bare
	} else if strings.Contains(host, ":") {
		return "", ports, fmt.Errorf("%q: an IPv6 address stands in brackets", shorten(to))
	}
	if host == "" || len(host) > 253 {
		return "", ports, fmt.Errorf("%q has no host", shorten(to))
	}
	return host, ports, nil
}
