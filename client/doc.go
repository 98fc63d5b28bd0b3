// Package client is the end of the tunnel where applications knock: it speaks
// SOCKS5 (RFC 1928, RFC 1929) on one side and carries whole IP packets in a
// mux.Session on the other.
//
// A datagram walks through these files, in this order:
//
//  1. associate.go: the relay socket's Loop hands over a batch; the sender must
//     be the application that owns the association.
//  2. datagram.go: the SOCKS header is parsed; fragment.go puts fragments
//     together; names.go turns a domain destination into an address.
//  3. uplink.go: the SOCKS header is stripped and an IP and a UDP header are
//     written in front, in place; the session takes the packet.
//
// and back:
//
//  4. downlink.go: the session delivers packets; ports.go finds who owns the
//     inner destination port, without a lock.
//  5. associate.go writes the SOCKS header over the IP and UDP header, in
//     place, and the packet leaves through the relay socket; forward.go does
//     the same without a SOCKS header.
//
// When an inner port ends, ends.go tells the server, which frees its mappings;
// alive.go tells of those that go on but send nothing. A flow to a name keeps its
// address: named.go.
//
// A connection comes in by client/admission, and waits in its lobby until it has said what it wants. The
// first byte tells the protocols apart (socks.go). A CONNECT goes through
// connect.go, which lets the exit at the server answer the application's own
// request, into call.go, which copies; SOCKS4 (socks4.go) and the CONNECT of HTTP
// (web_proxy.go) do the same. Plain HTTP and programs behind a TUN device (enclave.go)
// have streams by outgoing.go. What others send of UDP in a TCP connection is an
// association in udpstream.go. Forwards (forward.go, forward_tcp.go) need no protocol
// at all, publish.go and visitors.go lead ports of the server to programs here, and
// redirect.go and redirect_guests.go take what a router's firewall gives them of other
// machines.
//
// What programs connect to is the front's (front.go), their connections are the Crowd's of
// client/admission, whose Quotas bound what each of them has, and what is known of the paths is the
// Watch's of client/paths. Each has a lock of its own, and none is entered from within another. Whose
// a socket of this machine is client/sockdiag asks the kernel.
//
// Goroutines: one per listener (accept), one per connection to the SOCKS port, a forward
// or a redirect, two per CONNECT, one per Loop of UDP sockets, one that ends idle peers of
// forwards and redirects, one that keeps open ports alive, and two that watch the paths.
// A published port has one, of UDP a second that follows where it leads; they end with the
// port. One per waiting or lent stream of a published TCP port. Names, fragments, ends and
// wishes have one timer each, which runs only while something is open. An idle association
// holds one goroutine that waits for the end of its control connection, and no buffer. All
// of them end when the context of Client.Run does.
package client
