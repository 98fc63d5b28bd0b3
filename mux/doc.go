// Package mux is the tunnel's face: it carries whole IP packets, and TCP streams as such,
// between a client and a server over several connections at once, as MPTCP does it (RFC
// 8684). It knows nothing of SOCKS.
//
// Each end puts a Handler behind a Session. Session.Send takes packets, and
// Handler.Deliver gets them at the other end, each once; Session.OpenStream opens a stream
// there, which Handler.Stream serves. A Session lives as long as one of its connections
// does, and for a while without any.
//
// A Client keeps one Session with a server alive over all of its paths, which may come and
// go; a Listener accepts clients and has a Session with each. Snapshot and PathReport say
// how that goes, a Capture shows it to Wireshark.
package mux

// How it works inside. One session:
//
//	Send ─► queue ─► DSN ─┬─► subflow: DSS | packet ─► TLS ─► TCP ─┬─► each DSN once ─► Deliver
//	        per flow      ├─► subflow                            ─┤
//	        drops here    └─► subflow                            ─┘
//	                  ◄───────────────────  Data ACKs  ───────────────────
//
// A packet walks out through these files and rooms, in this order:
//
//  1. transmit.go: Send enters the engine (enter.go), which finds its flow, says by
//     fq's table of classes what it needs, and lets it wait or drops it. What has a
//     DSN is lost only when the peer has forgotten the whole session.
//  2. Flush has the engine choose among the subflows (engine, sched). The packet gets
//     its Identification, and from dsn its DSN; it is kept there until the Data ACK.
//  3. transmit.go: whoever took the subflow's write token (subflow.go) frames a
//     batch into TLS records. The carrier gathers them and gives them to the
//     kernel, without waiting (package carrier).
//
// and in:
//
//  4. receive.go: the subflow's reader takes records from its carrier, reads
//     options and checks each mapping; control.go obeys what is no DSS.
//  5. received.go and dsn: the first copy of a DSN counts; the Data ACK moves on.
//  6. UDP goes through deliver.go, which for a bounded time restores the order of
//     flows that came by several subflows (reseq), to Handler.Deliver. TCP goes
//     to the streams. Then Flush, for what was answered.
//
// A stream (package stream) is TCP inside the tunnel. It has no queue of packets: the
// scheduler pulls segments from it when they can leave (stream/send.go).
//
// Paths come and go (setpaths.go), and with them their slots (slot.go, backoff.go),
// places for a subflow each (both are methods of clientPath). dial.go, late.go, fork.go and servers.go with
// package dialer (client) and listener.go with accept.go (server) connect, package
// handshake has both sides prove their keys, and opens or joins the session (join.go,
// opening.go, welcome.go); Session.attach starts the subflow.
// monitor.go has carriers report to the engine, which finds the ones that stall, sends
// what they hold on others, measures paths and keeps their queues short; it then does
// what the engine orders. Readers that are awake do so in its stead. meter.go counts the
// paths' bytes for the caps (caps.go). snapshot.go, snapshot_flow.go and package capture
// let people look.
//
// # Goroutines
//
//   - Client.Run starts the monitor (monitor.run), watchCaps, and a slot per
//     subflow of each path; SetPaths and byte caps start and end slots. A dial has one
//     for each address it tries, for each next hop of a route that has several, for one that was silent before, and for names that are to be resolved. Run waits
//     for all of these.
//   - Listener.Run starts one per address, one per handshake under way, and a
//     monitor per session, and waits for all of them.
//   - Session.attach starts a reader per subflow, which starts the subflow's
//     writer and ends after it; the end of the connection ends both. Where the
//     peer opened a stream, Handler.Stream has a goroutine. Session.Close waits
//     for all of these.
//   - What must not wait for its caller's locks, such as the end of a session
//     that its own reader has heard of, gets one for that single call.
//
// Streams and captures have none.
//
// # Locks
//
// Outermost first: opening.mu; Client.mu or Listener.mu; allowance.joins; registry.mu; servers.mu;
// monitor.turn; delivery.mu, which is held while ordered flows are delivered, so that a
// Handler may Send; subflow.asking; the session's (Session.enter); Stream.mu; Table.mu. The
// mutexes of receiveSpace, of a carrier, of Capture, of Memory and of a Gate are taken last and
// held for no call to anything else here. The write token is no lock: its holder writes to the
// subflow without the session's lock.
//
// # RFC 8684
//
//	2       connection, token, keys            session.go, mptcp
//	3.1     MP_CAPABLE                         handshake, join.go, welcome.go
//	3.2     MP_JOIN                            handshake, join.go, welcome.go
//	3.3.1   data sequence mapping              transmit.go, receive.go, dsn
//	3.3.2   Data ACK                           receive.go, dsn, monitor.go
//	3.3.3   DATA_FIN                           finish.go
//	3.3.6   retransmission on other subflows   engine
//	3.3.8   subflow policy, MP_PRIO            sched, control.go
//	3.4     ADD_ADDR, REMOVE_ADDR              advert.go, control.go, setpaths.go
//	3.5     MP_FASTCLOSE                       finish.go, control.go
//	3.6     MP_TCPRST                          handshake, monitor.go, control.go
//	3.7     MP_FAIL, without a fallback        control.go
//
// carrier is what lies under a subflow: TLS over TCP, behind an interface that another one
// would have, too. mptcp has the options themselves, packet the packets, buf their memory;
// udpio is not used here but by both ends.
