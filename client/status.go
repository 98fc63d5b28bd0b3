package client

import (
	"net/netip"
	"sync"
	"time"

	"github.com/mpsocks/mpsocks/client/sockdiag"
	"github.com/mpsocks/mpsocks/status"
)

// Status is the client at this moment. Any goroutine may call it.
func (c *Client) Status() *status.Status {
	s := &status.Status{
		Half: status.Client, Time: time.Now(), Listen: []string{}, Programs: []status.Program{}, Events: []status.Event{},
		InnerPorts:    c.ports.used(),
		DatagramsDown: c.downlink.received.Load(),
		StreamUp:      c.streamUp.Load(),
		StreamDown:    c.streamDown.Load(),
		Drops:         c.drops.all(),
	}
	for _, a := range c.Addrs() {
		s.Listen = append(s.Listen, a.String())
	}
	var crowded, noAssociation, noStream uint64
	wrong, unread := c.crowd.Guesses()
	s.Pending, crowded = c.crowd.Lobby.State()
	s.Associations, noAssociation = c.associations.State()
	s.Streams, noStream = c.streams.State()
	s.Refused = map[string]uint64{
		"pending": crowded, "descriptors": c.crowd.Descriptors.Refused(), "handshake": c.failed.Load(), "exit": c.exitRefused.Load(),
		"password": wrong, "password_unread": unread,
		"associations": noAssociation, "streams": noStream, "connecting": c.enclaves.crowded.Load(), "lookups": c.lookups.refused(),
	}
	for _, f := range c.front.forwards() {
		s.Forwards = append(s.Forwards, status.Forward{Listen: f.address().String(), Peers: f.count()})
	}
	for _, r := range c.front.redirects() {
		s.Forwards = append(s.Forwards, status.Forward{Listen: r.address().String() + " (redirect)", Peers: r.guests.count()})
	}
	for _, p := range c.publications.all() {
		s.Published = append(s.Published, p.status())
	}
	for _, l := range c.loops {
		s.DatagramsUp += l.sent.Load()
	}
	c.names.mu.Lock()
	s.Names, s.Queries = len(c.names.byHost), len(c.names.open)/2
	c.names.mu.Unlock()
	if c.mux == nil {
		return s
	}
	session, programs := status.OfSession(c.mux.Session().Snapshot())
	for i := range programs {
		if programs[i].BelongsToTunnel() {
			continue
		}
		s.Programs = append(s.Programs, programs[i])
	}
	c.identify(s.Programs)
	session.Server, session.Paths = c.watch.Describe(c.mux.Reports(), session.Paths, c.mux.Carried)
	for i := range s.Programs {
		s.Programs[i].Explain(session.Paths)
	}
	s.Session = &session
	if s.Ready = session.Works(s.Time); !s.Ready {
		s.Reasons = []string{"no session with the server"}
		if session.Up {
			s.Reasons = []string{"no path works"}
		}
		for _, p := range session.Paths {
			if p.Cause != "" {
				s.Reasons = append(s.Reasons, p.Name+": "+p.Words(s.Time))
			}
		}
	}
	return s
}

// identify puts applications' own addresses, names and destinations in the place of
// those inside the tunnel.
func (c *Client) identify(programs []status.Program) {
	var ask [][2]netip.AddrPort
	parties := make([]party, len(programs))
	largest := make(map[*innerPort]*status.Program)
	for i := range programs {
		p := &programs[i]
		if port := c.portOf(p); port != nil && (largest[port] == nil || largest[port].Bytes < p.Bytes) {
			largest[port] = p
		}
	}
	for port, p := range largest {
		p.Received = port.owner.core().received.Load()
	}
	for i := range programs {
		p := &programs[i]
		parties[i] = c.partyOf(p)
		if a := parties[i]; a.app.IsValid() {
			p.App = a.app.String()
			if local := a.app.Addr().IsLoopback() || a.app.Addr() == a.proxy.Addr(); local {
				ask = append(ask, [2]netip.AddrPort{a.app, a.proxy})
			}
		}
		if a := parties[i]; a.to != "" {
			p.To = a.to
		}
		if a := parties[i]; a.user != "" {
			p.User = a.user
		}
	}
	names := c.owners.names(ask)
	for i := range programs {
		if parties[i] == (party{}) {
			programs[i].App = "" // its address inside the tunnel tells nobody anything
		}
		programs[i].Name = parties[i].name
		if n := names[parties[i].app]; n != "" {
			programs[i].Name = n
		}
	}
}

// partyOf finds the application at the inner end of a flow.
func (c *Client) partyOf(p *status.Program) party {
	from, err := netip.ParseAddrPort(p.App)
	if err != nil {
		return party{}
	}
	if p.Proto == "tcp" {
		out, _ := c.calls.of(from)
		return out
	}
	port := c.portOf(p)
	if port == nil {
		return party{}
	}
	o := port.owner
	if s, ok := o.(*sibling); ok {
		o = s.of
	}
	switch o := o.(type) {
	case *association:
		return party{app: addrOf(o.control.RemoteAddr()), proxy: addrOf(o.control.LocalAddr()), user: o.holder.User}
	case *forwardPeer:
		return party{app: netip.AddrPortFrom(o.addr.Addr().Unmap(), o.addr.Port()), name: "forward at " + o.forward.listen.String()}
	case *guestSocket:
		return party{app: o.addr, name: o.addr.Addr().String()}
	case *udpStream:
		return party{app: addrOf(o.conn.RemoteAddr()), proxy: addrOf(o.conn.LocalAddr()), user: o.source.User}
	case *visitors:
		return party{name: "published port " + o.publication.route.Load().Listen.String()}
	case *enclavePort:
		return party{name: o.holder.User}
	case *names:
		return party{name: "name queries"}
	}
	return party{}
}

// portOf finds the inner port that datagrams come from, or nil.
func (c *Client) portOf(p *status.Program) *innerPort {
	from, err := netip.ParseAddrPort(p.App)
	if err != nil || p.Proto != "udp" && p.Proto != "icmp" {
		return nil
	}
	return c.ports.lookup(from)
}

// owners remembers the names of programs by their connections, so that the system is
// asked once for each.
type owners struct {
	mu    sync.Mutex // guards the rest
	known map[[2]netip.AddrPort]string
	next  time.Time // when the system may be asked again
}

const (
	// ownersPause keeps a look at all processes rare: it takes milliseconds.
	ownersPause = 2 * time.Second
	// ownersMost bounds what is remembered; then all is asked again.
	ownersMost = 4096
)

func (o *owners) names(conns [][2]netip.AddrPort) map[netip.AddrPort]string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.known == nil || len(o.known) > ownersMost {
		o.known = make(map[[2]netip.AddrPort]string)
	}
	out := make(map[netip.AddrPort]string)
	var ask [][2]netip.AddrPort
	for _, c := range conns {
		name, asked := o.known[c]
		if !asked {
			ask = append(ask, c)
		}
		out[c[0]] = name
	}
	if now := time.Now(); len(ask) > 0 && now.After(o.next) {
		o.next = now.Add(ownersPause)
		found := sockdiag.Programs(ask)
		for _, c := range ask {
			o.known[c] = found[c[0]]
			out[c[0]] = found[c[0]]
		}
	}
	return out
}
