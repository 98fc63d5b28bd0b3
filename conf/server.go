package conf

import (
	"bytes"
	"net/netip"
	"slices"
	"time"
)

// Server is the whole file of the half that faces the internet.
type Server struct {
	// Listen has the addresses where clients' subflows arrive. An entry is an
	// address, or {address, kernel_mptcp}.
	Listen []Listen `mapstructure:"listen" reload:"live"`
	// Advertise are further addresses of this server, told to clients with
	// ADD_ADDR.
	Advertise []netip.AddrPort `mapstructure:"advertise" reload:"new"`
	// Reach has the addresses, host:port, at which clients reach this server: what
	// `mpsocks clients add` writes into the files of clients.
	Reach []string `mapstructure:"reach" reload:"live"`
	// BehindLoadBalancer sets RFC 8684's C flag: no joins to the address of
	// the first subflow, only to the advertised ones.
	BehindLoadBalancer bool `mapstructure:"behind_load_balancer" reload:"new"`

	// PrivateKey is the identity that clients pin. After loading it is set,
	// also when the file named a PrivateKeyFile.
	PrivateKey PrivateKey `mapstructure:"private_key" reload:"live"`
	// PrivateKeyFile holds the key instead, as one line of base64; relative
	// names are looked up beside the configuration file.
	PrivateKeyFile string `mapstructure:"private_key_file" reload:"live"`
	// Clients are those who may open sessions. After loading it has those of
	// ClientsDir too.
	Clients []Peer `mapstructure:"clients" reload:"live"`
	// ClientsDir has further clients, each in a file of its own, as `mpsocks
	// clients` writes them; a relative name is looked up beside the
	// configuration file, and a directory that is not there is an empty one.
	ClientsDir string `mapstructure:"clients_dir" reload:"live"`

	// Cover is what strangers get.
	Cover Cover `mapstructure:"cover"`
	// Relay is how datagrams and CONNECTs leave.
	Relay Relay `mapstructure:"relay"`
	// Mode is the traffic policy for everything that no rule catches.
	Mode Mode `mapstructure:"mode" reload:"live"`
	// Rules override the class of flows; the first match wins. User is the
	// client's name here.
	Rules []Rule `mapstructure:"rules" reload:"live"`
	// Limits caps every table.
	Limits ServerLimits `mapstructure:"limits"`
	// SessionTimeout is how long a session without subflows is held for its
	// client to come back.
	SessionTimeout time.Duration `mapstructure:"session_timeout" reload:"live"`

	// Drain is how long a server that is told to end goes on serving what is
	// under way, without taking anything new; 0 ends it at once.
	Drain time.Duration `mapstructure:"drain" reload:"live"`

	// Admin is where the page, status, metrics and health are served: addresses,
	// or unix:/PATH for a socket of the owner alone; none is off.
	Admin []Admin `mapstructure:"admin" reload:"live"`
	// Pprof serves the runtime's profiles at the admin addresses too, to who has
	// the token.
	Pprof bool `mapstructure:"pprof" reload:"restart"`
	// StateDir keeps what must survive a restart: the admin token, and what clients
	// have used; a relative name is looked up beside the configuration file.
	// Empty is DefaultStateDir.
	StateDir string `mapstructure:"state_dir" reload:"restart"`
	// Log says how much is logged and how it looks.
	Log Log `mapstructure:"log"`

	faults []Fault // of ClientsDir
}

// Listen is one address where subflows arrive.
type Listen struct {
	// Address is the TCP address.
	Address netip.AddrPort `mapstructure:"address"`
	// KernelMPTCP makes the listening socket a kernel MPTCP socket.
	KernelMPTCP bool `mapstructure:"kernel_mptcp"`
}

// Peer is one client as a server sees it.
type Peer struct {
	// Name is unique; logs, metrics, status and rules use it.
	Name string `mapstructure:"name"`
	// PublicKey is the client's identity, unique too.
	PublicKey PublicKey `mapstructure:"public_key"`
	// PublicKeys are further identities of the client, while its key is changed.
	PublicKeys []PublicKey `mapstructure:"public_keys"`
	// Quota is how many bytes a month the client's sessions may carry, both ways and
	// with copies; then nothing of it goes out until the next month. 0 is no bound.
	Quota Size `mapstructure:"quota"`
	// Rate is how much the client's traffic may be, in each direction; open CONNECTs
	// keep theirs. 0 is no bound.
	Rate Rate `mapstructure:"rate"`
	// Streams is how many CONNECTs of the client may live at once; 0 is
	// limits.streams_per_client.
	Streams int `mapstructure:"streams"`
	// Publish are the ports of this server that the client may lead to programs
	// of its own: numbers and ranges.
	Publish []PortRange `mapstructure:"publish"`

	file string // of ClientsDir; "" for an entry of the configuration file
}

// Keys are all identities of the client.
func (p *Peer) Keys() []PublicKey { return allKeys(p.PublicKey, p.PublicKeys) }

// allKeys is the short form's key, if there is one, before the others.
func allKeys(one PublicKey, more []PublicKey) []PublicKey {
	var keys []PublicKey
	if len(one) > 0 {
		keys = append(keys, one)
	}
	for _, k := range more {
		if !slices.ContainsFunc(keys, func(o PublicKey) bool { return bytes.Equal(o, k) }) {
			keys = append(keys, k)
		}
	}
	return keys
}

// Relay is how datagrams and CONNECTs leave the server.
type Relay struct {
	// Bind is the interface or the local address they leave from; empty
	// leaves the choice to the routing table.
	Bind string `mapstructure:"bind" reload:"restart"`
	// IdleTimeout ends a mapping that has sent nothing for so long; RFC 4787
	// REQ-5 forbids less than two minutes.
	IdleTimeout time.Duration `mapstructure:"idle_timeout" reload:"live"`
	// Filtering says who may answer through a mapping.
	Filtering Filtering `mapstructure:"filtering" reload:"new"`
	// Allow opens destinations that are refused by default: private,
	// loopback, link-local, multicast, carrier-NAT.
	Allow []Access `mapstructure:"allow" reload:"live"`
	// OwnAddresses are further addresses of this server, behind a cloud's NAT for
	// one; those of its interfaces and of Advertise are known. Clients do not reach
	// them unless Allow opens them.
	OwnAddresses []netip.Addr `mapstructure:"own_addresses" reload:"live"`
	// Deny closes destinations, also those that Allow opens.
	Deny []Access `mapstructure:"deny" reload:"live"`
	// Offload says whether UDP segmentation offload is used.
	Offload Offload `mapstructure:"offload" reload:"new"`
}

// ServerLimits caps what clients can make the server hold; 0 in a per-client
// limit means that only the total counts.
type ServerLimits struct {
	// Sessions is how many sessions may live at once.
	Sessions int `mapstructure:"sessions" reload:"live"`
	// SessionsPerClient is the same for one client's key.
	SessionsPerClient int `mapstructure:"sessions_per_client" reload:"live"`
	// SubflowsPerSession is how many subflows one session may have.
	SubflowsPerSession int `mapstructure:"subflows_per_session" reload:"live"`
	// Mappings is how many UDP mappings, thus sockets, may live at once.
	Mappings int `mapstructure:"mappings" reload:"live"`
	// MappingsPerClient is the same for one client's key.
	MappingsPerClient int `mapstructure:"mappings_per_client" reload:"live"`
	// Streams is how many CONNECTs may live at once.
	Streams int `mapstructure:"streams" reload:"live"`
	// StreamsPerClient is the same for one client's key.
	StreamsPerClient int `mapstructure:"streams_per_client" reload:"live"`
	// DestinationsPerSecond is how many new destinations, addresses with ports, a
	// client may reach a second in the long run, over UDP and CONNECT together, with
	// ten times as many at once; 0 is no bound.
	DestinationsPerSecond int `mapstructure:"destinations_per_second" reload:"live"`
	// RefusalsPerSecond is how many of a client's CONNECTs may be refused by their
	// destinations a second, with ten times as many at once; beyond, it gets no new
	// destinations. 0 is no bound.
	RefusalsPerSecond int `mapstructure:"refusals_per_second" reload:"live"`
	// Memory is how many bytes of buffers all sessions may hold, one client a quarter
	// of it: auto, a quarter of what the machine or a control group above this process
	// has, or a size.
	Memory Memory `mapstructure:"memory" reload:"live"`
}
