package conf

import (
	"net/netip"
	"time"
)

// Client is the whole file of the half that runs beside the applications.
type Client struct {
	// Listen has the addresses where applications knock with SOCKS5 over TCP.
	// The relay ports of UDP associations are bound to the same hosts.
	Listen []netip.AddrPort `mapstructure:"listen" reload:"live"`
	// Users may log in with RFC 1929 user name and password. With none, no
	// authentication is asked for, on loopback listeners only.
	Users []User `mapstructure:"users" reload:"live"`
	// AllowAnonymous lets a listener that is not on loopback serve everybody
	// who can reach it.
	AllowAnonymous bool `mapstructure:"allow_anonymous" reload:"live"`
	// EarlyReply has a CONNECT answered before the server has reached the destination, so
	// that the application's first bytes go a round trip of the tunnel sooner. What is not
	// reached is a connection that is reset, and not a reply that says why.
	EarlyReply bool `mapstructure:"early_reply" reload:"new"`

	// PrivateKey names this client to the server. After loading it is set,
	// also when the file named a PrivateKeyFile.
	PrivateKey PrivateKey `mapstructure:"private_key" reload:"restart"`
	// PrivateKeyFile holds the key instead, as one line of base64; relative
	// names are looked up beside the configuration file.
	PrivateKeyFile string `mapstructure:"private_key_file" reload:"restart"`
	// Server is the other half.
	Server Remote `mapstructure:"server"`

	// Paths are the ways to the server; none means one by the default route.
	Paths []Path `mapstructure:"paths" reload:"live"`
	// Mode is the traffic policy for everything that no rule catches.
	Mode Mode `mapstructure:"mode" reload:"live"`
	// Rules override the class of flows; the first match wins.
	Rules []Rule `mapstructure:"rules" reload:"live"`
	// Forwards are fixed ways through the tunnel, for programs that speak to no
	// proxy.
	Forwards []Forward `mapstructure:"forwards" reload:"live"`
	// Publish are ports at the server that lead to programs here; the server has
	// to allow them to this client.
	Publish []Publish `mapstructure:"publish" reload:"live"`
	// Redirect takes what the firewall gives it of other machines (Linux).
	Redirect Redirect `mapstructure:"redirect"`
	// TUN leads the programs of this machine into the tunnel (Linux).
	TUN TUN `mapstructure:"tun"`
	// Mark is put on the sockets of the subflows, and on those that answer redirected
	// machines, for rules of routing and of the firewall to know them by (SO_MARK, Linux,
	// with CAP_NET_ADMIN); 0 is none, and with tun one of the client's choice.
	Mark int `mapstructure:"mark" reload:"restart"`
	// RunSocket is the Unix socket at which `mpsocks run` of the same user finds
	// the client (Linux): a path, auto for one below the user's runtime
	// directory, or off.
	RunSocket string `mapstructure:"run_socket" reload:"restart"`
	// UDP tunes the relay sockets of associations.
	UDP UDP `mapstructure:"udp"`
	// Limits caps what applications can make the client hold.
	Limits ClientLimits `mapstructure:"limits"`
	// SessionTimeout is how long a session waits for its first subflow to come
	// back before it is given up and started anew.
	SessionTimeout time.Duration `mapstructure:"session_timeout" reload:"live"`

	// Admin is where the page, status, metrics and health are served: addresses,
	// or unix:/PATH for a socket of the owner alone; none is off.
	Admin []Admin `mapstructure:"admin" reload:"live"`
	// Pprof serves the runtime's profiles at the admin addresses too, to who has
	// the token.
	Pprof bool `mapstructure:"pprof" reload:"restart"`
	// StateDir keeps what must survive a restart: the admin token, and what paths
	// have carried; a relative name is looked up beside the configuration file.
	// Empty is DefaultStateDir.
	StateDir string `mapstructure:"state_dir" reload:"restart"`
	// Log says how much is logged and how it looks.
	Log Log `mapstructure:"log"`
}

// User is one SOCKS5 user, RFC 1929.
type User struct {
	// Name has 1 to 255 bytes.
	Name string `mapstructure:"name"`
	// Password has 1 to 255 bytes.
	Password string `mapstructure:"password" secret:"yes"`
}

// Remote is the server as a client sees it.
type Remote struct {
	// Addresses are host:port, tried in order; a name counts for all its
	// addresses of both families.
	Addresses []string `mapstructure:"addresses" reload:"live"`
	// PublicKey is the identity accepted at these addresses: the short form of
	// PublicKeys with one key.
	PublicKey PublicKey `mapstructure:"public_key" reload:"live"`
	// PublicKeys are identities accepted there, so that a server's key can be
	// changed without all clients having to change at that moment.
	PublicKeys []PublicKey `mapstructure:"public_keys" reload:"live"`
	// Cover is what those who watch see of the subflows, as the server has it.
	Cover RemoteCover `mapstructure:"cover"`
}

// Keys are all identities of the server that are accepted.
func (r *Remote) Keys() []PublicKey { return allKeys(r.PublicKey, r.PublicKeys) }

// Path is a way from the client to the server.
type Path struct {
	// Name is unique; logs, metrics and status use it.
	Name string `mapstructure:"name"`
	// Bind is an interface or a local address; empty leaves the choice to the
	// routing table.
	Bind string `mapstructure:"bind"`
	// Subflows is how many TCP connections the path carries: auto or a number.
	Subflows Subflows `mapstructure:"subflows"`
	// Backup keeps the path idle while another one works.
	Backup bool `mapstructure:"backup"`
	// Metered keeps everything but keep-alives off the path unless needed.
	Metered bool `mapstructure:"metered"`
	// KernelMPTCP makes the subflows' sockets kernel MPTCP sockets.
	KernelMPTCP bool `mapstructure:"kernel_mptcp"`
	// Weight is the path's share beside the others'; 0 means by its rate.
	Weight int `mapstructure:"weight"`
	// DailyCap is how many bytes the path may carry a day, both directions;
	// 0 means no cap.
	DailyCap Size `mapstructure:"daily_cap"`
	// MonthlyCap is the same for a month.
	MonthlyCap Size `mapstructure:"monthly_cap"`
	// BillingDay is the day of the month, 1 to 31, on which the month begins;
	// a month that is shorter has it at its end. 0 is the first.
	BillingDay int `mapstructure:"billing_day"`
}

// Redirect takes connections and datagrams on their way to somewhere else, which
// nftables' TPROXY gives it, for machines that this one is the router of.
type Redirect struct {
	// Listen has the addresses that TPROXY is told, one of each family: 127.0.0.1:1081
	// and [::1]:1081. Each is for TCP and UDP.
	Listen []netip.AddrPort `mapstructure:"listen" reload:"live"`
}

// UDP tunes the relay sockets of associations.
type UDP struct {
	// PublicAddress is told to applications as the relay's address, where a
	// NAT stands between them and the client: one for each family at most.
	// Applications of a family without one are told the address that they
	// reached the client at.
	PublicAddress []netip.Addr `mapstructure:"public_address" reload:"new"`
	// Ports is the range that relay ports are taken from; the zero value
	// leaves the choice to the kernel.
	Ports PortRange `mapstructure:"ports" reload:"new"`
	// Offload says whether UDP segmentation offload is used.
	Offload Offload `mapstructure:"offload" reload:"new"`
}

// ClientLimits caps what applications can make the client hold; 0 in a
// per-user limit means that only the total counts.
type ClientLimits struct {
	// Associations is how many UDP associations may live at once; one whose program sends from
	// several sockets counts as so many.
	Associations int `mapstructure:"associations" reload:"live"`
	// AssociationsPerUser is the same for one SOCKS user.
	AssociationsPerUser int `mapstructure:"associations_per_user" reload:"live"`
	// Streams is how many CONNECTs may live at once.
	Streams int `mapstructure:"streams" reload:"live"`
	// StreamsPerUser is the same for one SOCKS user.
	StreamsPerUser int `mapstructure:"streams_per_user" reload:"live"`
}
