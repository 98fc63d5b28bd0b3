package conf

import "net/netip"

// Mode is the traffic policy for everything that no rule catches.
type Mode string

// The modes.
const (
	ModeAuto      Mode = "auto"      // each flow by what it does
	ModeAggregate Mode = "aggregate" // every flow over all paths
	ModeRedundant Mode = "redundant" // copies on several paths
	ModeLatency   Mode = "latency"   // the fastest path counts
)

// Class is what a rule makes of a flow.
type Class string

// The classes.
const (
	ClassLatency Class = "latency" // small flows: best subflows, copies while there is room
	ClassBulk    Class = "bulk"    // fill all paths
	ClassOrdered Class = "ordered" // keep order, as QUIC likes it
	ClassBackup  Class = "backup"  // only what all others leave
	ClassMetered Class = "metered" // as bulk, and may use metered paths
)

// Filtering says who may answer through a mapping, RFC 4787 section 5.
type Filtering string

// The filterings.
const (
	FilteringEndpoint    Filtering = "endpoint-independent"       // anybody
	FilteringAddress     Filtering = "address-dependent"          // addresses that were sent to
	FilteringAddressPort Filtering = "address-and-port-dependent" // addresses and ports that were sent to
)

// Offload says whether UDP segmentation offload is used.
type Offload string

// The offloads.
const (
	OffloadAuto Offload = "auto" // where the kernel has it and is not known to break it
	OffloadOff  Offload = "off"
)

// Rule gives flows a class; fields that are left out match everything.
type Rule struct {
	// User is the SOCKS user (client) or the client's name (server).
	User string `mapstructure:"user"`
	// To is the far end, the destination on the client and the source on the
	// server: a prefix, or one address.
	To netip.Prefix `mapstructure:"to"`
	// Ports is its port: "80" or "1000-2000".
	Ports PortRange `mapstructure:"ports"`
	// DSCP is the code point that the application set: a number or a name
	// such as ef, af41 or cs1.
	DSCP DSCP `mapstructure:"dscp"`
	// Class is what the flow becomes.
	Class Class `mapstructure:"class"`
}

// Log says how much is logged and how it looks.
type Log struct {
	// Level is trace, debug, info, warn or error.
	Level string `mapstructure:"level" reload:"live"`
	// Format is auto (console on a terminal, JSON elsewhere), console or json.
	Format string `mapstructure:"format" reload:"restart"`
}
