package conf

import (
	"net/netip"
	"time"
)

// sessionTimeout is how long a session without subflows waits. Two minutes
// outlast a router's restart, a train's tunnel and a suspended laptop's lid,
// and do not keep a vanished client's sockets for long.
const sessionTimeout = 2 * time.Minute

// DefaultClient is what a client's file leaves unsaid.
func DefaultClient() *Client {
	return &Client{
		// Port 1080 is SOCKS's by IANA; loopback, because nobody is
		// authenticated there.
		Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1080")},
		// Each flow by what it does: no other mode is right for a mix.
		Mode: ModeAuto,
		// Without a name there is no device; with one it takes everything but the local
		// network, names included. Its addresses are the tunnel's own, so that they are
		// those of no network; nothing on the way to the tunnel is shorter than the
		// longest packet.
		TUN: TUN{
			Addresses: []netip.Addr{netip.MustParseAddr("198.18.255.2"), netip.MustParseAddr("fd6d:7073::ffff:2")},
			MTU:       65535,
			Routes:    []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")},
			LAN:       true,
			DNS:       true,
			WhenDown:  WhenDownStop,
		},
		// Only the user's own programs can reach it.
		RunSocket: "auto",
		// Offload is a third of the work per datagram; it is off by itself
		// where the kernel lacks it or is known to break it.
		UDP: UDP{Offload: OffloadAuto},
		Limits: ClientLimits{
			// An idle association costs one socket beside its TCP
			// connection: 16,384 of them fit the 32 Ki ephemeral ports of a
			// host, which are the real limit.
			Associations: 16384,
			// A CONNECT costs one socket and its windows.
			Streams: 16384,
			// Per user: only the totals count, for most clients have one
			// user.
		},
		SessionTimeout: sessionTimeout,
		// Admin is off: a port that nobody asked for is not opened. init
		// writes it into the file.
		// Info has what an operator acts on and nothing per packet.
		Log: Log{Level: "info", Format: "auto"},
	}
}

// DefaultServer is what a server's file leaves unsaid.
func DefaultServer() *Server {
	return &Server{
		// Every address of both families. 7443 needs no privilege and is
		// next door to HTTPS for firewalls that look at ports.
		Listen: []Listen{{Address: netip.MustParseAddrPort("[::]:7443")}},
		// Where `mpsocks clients add` writes.
		ClientsDir: "clients.d",
		Mode:       ModeAuto,
		Relay: Relay{
			// RFC 4787 REQ-5: five minutes or more is recommended.
			IdleTimeout: 5 * time.Minute,
			// REQ-8: recommended where transparency counts, as it does for
			// games, calls and peer-to-peer.
			Filtering: FilteringEndpoint,
			Offload:   OffloadAuto,
		},
		Limits: ServerLimits{
			// A session costs some kilobytes while idle; a thousand homes
			// on one server is a large one.
			Sessions: 1024,
			// One client has one session, and for a moment a second when
			// it was restarted; the rest is for a key that is shared by a
			// few devices.
			SessionsPerClient: 16,
			// As many as there can be (docs/protocol.md).
			SubflowsPerSession: 63,
			// A mapping is one socket; the file descriptor limit of a
			// service is often 65,536 and CONNECTs need some too.
			Mappings: 32768,
			// One client may use as much as a client's own associations
			// limit.
			MappingsPerClient: 16384,
			Streams:           16384,
			// A quarter of all, so that one client's crawler leaves room.
			StreamsPerClient: 4096,
		},
		SessionTimeout: sessionTimeout,
		Log:            Log{Level: "info", Format: "auto"},
	}
}
