// Package tun carries what programs without SOCKS send: the packets of a TUN
// device, as IP gave them.
//
// A UDP datagram walks through these files, in this order:
//
//  1. device_linux.go reads it, with the virtio-net header that says what the kernel
//     left undone (vnet.go); device.go cuts what came as one piece.
//  2. datagram.go checks it; udp.go finds the inner port of the program's socket
//     and gives it to the client, which puts the headers of the tunnel in front.
//
// and back: the client finds the inner port's owner, udp.go writes the program's
// address over the inner one, in place, batch.go gathers what comes for one socket, and
// device_linux.go hands it to the kernel in one piece.
//
// TCP is ended here: link.go is the network interface of gVisor's stack, tcp.go
// asks the exit before it answers a SYN, and copies both ways.
//
// DNS over TCP with the resolver in the tunnel is ended by names.go, and goes on by UDP. What
// is too long for a program that asks by UDP is cut by answer.go.
//
// ICMP echo requests go to the exit by icmp.go, and what ICMP says there about what a
// program has sent comes back to it. Other messages are dropped, and counted.
//
// Goroutines: one reads the device, one closes idle ports, one per TCP connection in each
// direction, those of gVisor's stack; all end with Serve.
package tun
