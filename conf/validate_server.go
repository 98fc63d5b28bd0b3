package conf

import (
	"fmt"
	"net/netip"
)

// Validate reports every problem at once, as an [Errors], or nil.
func (s *Server) Validate() error { return s.validate().err("") }

func (s *Server) validate() Errors {
	var p Errors
	listen := make([]netip.AddrPort, len(s.Listen))
	for i, l := range s.Listen {
		listen[i] = l.Address
	}
	if len(listen) == 0 {
		p.addf("listen", "needs an address, such as 0.0.0.0:7443")
	}
	noteListen(&p, "listen", listen)
	s.validateAdvertise(&p)
	for i, a := range s.Reach {
		noteHostPort(&p, fmt.Sprintf("reach[%d]", i), a)
	}
	notePrivateKey(&p, s.PrivateKey)
	s.validateClients(&p)
	s.Cover.note(&p, listen)
	s.validateRelay(&p)

	users := s.names()
	if s.ClientsDir != "" {
		users = nil // they come and go: Doubts has what looks like a mistake
	}
	noteMode(&p, s.Mode, s.Rules, users)
	l := s.Limits
	noteLimit(&p, "limits.sessions", l.Sessions, "limits.sessions_per_client", l.SessionsPerClient)
	noteRange(&p, "limits.subflows_per_session", l.SubflowsPerSession, 1, 256)
	noteLimit(&p, "limits.mappings", l.Mappings, "limits.mappings_per_client", l.MappingsPerClient)
	noteLimit(&p, "limits.streams", l.Streams, "limits.streams_per_client", l.StreamsPerClient)
	noteRange(&p, "limits.destinations_per_second", l.DestinationsPerSecond, 0, 1_000_000)
	noteRange(&p, "limits.refusals_per_second", l.RefusalsPerSecond, 0, 1_000_000)
	if l.Memory != 0 && l.Memory < leastMemory {
		p.addf("limits.memory", "%s is too little for anything: 32MiB or more", l.Memory)
	}
	if s.Drain < 0 || s.Drain > maxDrain {
		p.addf("drain", "%v is not between 0s and %v", s.Drain, maxDrain)
	}
	noteAdmin(&p, s.Admin, listen)
	noteRest(&p, s.SessionTimeout, s.Log)
	return p
}

// names are those of the clients.
func (s *Server) names() map[string]bool {
	users := map[string]bool{}
	for _, c := range s.Clients {
		users[c.Name] = true
	}
	return users
}

// Doubts are what is valid and may not be meant, a line each: a file of the clients_dir
// with a mistake, a rule for a client that there is not.
func (s *Server) Doubts() (lines []string) {
	names := s.names()
	for i := range s.faults {
		names[s.faults[i].Name()] = true
		lines = append(lines, s.faults[i].Lines()...)
	}
	for i, r := range s.Rules {
		if r.User != "" && !names[r.User] {
			lines = append(lines, fmt.Sprintf("rules[%d].user: there is no client %q, so the rule holds for nobody", i, shorten(r.User)))
		}
	}
	return lines
}

// validateAdvertise holds that clients get addresses they can dial.
func (s *Server) validateAdvertise(p *Errors) {
	noteListen(p, "advertise", s.Advertise)
	for i, a := range s.Advertise {
		if a.IsValid() && (a.Port() == 0 || a.Addr().IsUnspecified()) {
			p.addf(fmt.Sprintf("advertise[%d]", i), "%s is not an address that clients can dial", a)
		}
	}
	if s.BehindLoadBalancer && len(s.Advertise) == 0 {
		p.addf("behind_load_balancer", "needs advertise: without it no client could add a second subflow")
	}
}

func (s *Server) validateClients(p *Errors) {
	if len(s.Clients) == 0 && s.ClientsDir == "" {
		p.addf("clients", "needs a client: {name, public_key}")
	}
	r := newRoster(s.PrivateKey)
	for i := range s.Clients {
		c := &s.Clients[i]
		var found Errors
		field := fmt.Sprintf("clients[%d].", i)
		if c.file != "" {
			field = ""
		}
		c.note(&found, field)
		r.note(&found, field, c)
		r.add(c)
		for _, f := range found {
			f.File = c.file
		}
		*p = append(*p, found...)
	}
}

func (s *Server) validateRelay(p *Errors) {
	r := s.Relay
	noteBind(p, "relay.bind", r.Bind)
	if r.IdleTimeout < minIdle {
		p.addf("relay.idle_timeout", "%v is under %v, the least that RFC 4787 allows", r.IdleTimeout, minIdle)
	}
	noteOneOf(p, "relay.filtering", r.Filtering, FilteringEndpoint, FilteringAddress, FilteringAddressPort)
	noteOneOf(p, "relay.offload", r.Offload, OffloadAuto, OffloadOff)
	for i, a := range r.OwnAddresses {
		if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() {
			p.addf(fmt.Sprintf("relay.own_addresses[%d]", i), "is not an address that a server can have")
		}
	}
	allowed := map[string]int{}
	for i, a := range r.Allow {
		if !a.Prefix.IsValid() && a.List == "" {
			p.addf(fmt.Sprintf("relay.allow[%d]", i), "is empty")
		}
		allowed[a.String()] = i
	}
	for i, d := range r.Deny {
		if !d.Prefix.IsValid() && d.List == "" {
			p.addf(fmt.Sprintf("relay.deny[%d]", i), "is empty")
		}
		if j, both := allowed[d.String()]; both {
			p.addf(fmt.Sprintf("relay.deny[%d]", i), "%s is relay.allow[%d] too: leave one of them out", d, j)
		}
	}
}
