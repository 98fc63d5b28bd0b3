// Package loads makes the traffic that networks and proxies are measured with, and counts what comes of it: datagrams
// at a constant rate, floods above capacity, TCP streams and HTTP/3 transfers, each directly or through any SOCKS5 proxy.
//
//	application side (Place of the Route)                world side (Place of the World)
//	  Datagrams  sender ──▶ proxy ──▶ ... ──▶ receiver, echo
//	             receiver ◀── proxy ◀── ... ◀── echo, or sender of a download
//	  Streams    CONNECT ──▶ proxy ──▶ ... ──▶ source or sink
//	  Transfer   quic-go over a UDP association ──▶ ... ──▶ http3.Server
//
// Both ends live in one process, so one clock times both directions, and the receiver's records need no transport.
// Every datagram carries its flow, its number and the time it was sent. Senders are paced by absolute times and never
// wait for answers, so a stall of the system under test cannot hide the datagrams that should have been sent meanwhile;
// arrival is the kernel's receive time stamp, so a busy machine's late wake-ups of the receiver do not count as network
// latency. Senders and echo run in the real-time class (netlab.Realtime): they stand for other machines.
package loads
