// Package server is the end of the tunnel that faces the internet: it takes
// whole IP packets out of sessions and sends their datagrams to their real
// destinations, and it ends CONNECT streams in TCP connections.
//
// A datagram walks through these files, in this order:
//
//  1. uplink.go: a session delivers a batch; every packet is parsed and its
//     checksums are verified.
//  2. access.go: may this destination be reached at all?
//  3. nat.go: the inner source's mapping (RFC 4787), made on first use; outlet.go gives
//     it a UDP socket.
//  4. uplink.go: the datagram joins a udpio.Writer, which sends the batch.
//
// and back:
//
//  5. downlink.go: the socket's Loop hands over a batch; the mapping's filter
//     is asked; an IP and a UDP header are written in front, in place, with the
//     true sender as source.
//  6. the session takes the packets, and is flushed once per round of the Loop.
//
// Datagrams for the server's own address inside the tunnel stay here: echo.go
// answers port 7, query.go has port 53 answered, and news.go hears
// at port 9 which inner ports have ended, and at port 11 which go on.
//
// Echo requests leave by ping.go; what did not arrive is told by unreached.go.
//
// A CONNECT walks through connect.go (armon/go-socks5 reads the request and
// writes the reply), access.go and dial.go (Happy Eyeballs), and is then copied
// by exit.go.
//
// Names are looked up in one way for both, and for the server itself: by the Resolver of
// server/names, a room of its own.
//
// Who is there and what each client may have is roll.go's; the access rules that hold are
// own.go's. Each of them, and each session's nat, has a lock of its own, and none is entered
// from within another.
//
// Streams to port 1081 publish ports of the server's: publish.go.
//
// Goroutines: the mux.Listener's, one per Loop (one to four of them), one sweeper for
// all idle timers, one each that counts what clients use, that asks the kernel what it
// holds, that follows the interfaces' addresses and that ends what left from those that are
// gone, one per family of echo requests, one per query, those of server/names, two per
// CONNECT, and one per published TCP port. All of them end when the context of Server.Run does.
package server
