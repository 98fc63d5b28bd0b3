// Package confine runs a program in user, network and mount namespaces of its own
// (Linux), whose only way out is a TUN device. It knows nothing of the tunnel: it
// hands over the device.
//
// Two processes take part. Start, in the caller's process, starts the program's own
// with new namespaces; there Inside makes the device (package tun), brings the
// network up (network_linux.go), puts a resolv.conf and an nsswitch.conf of its own
// in place (files_linux.go), gives the device to the caller by a socket, waits for
// its word, gives up its privileges and becomes the program. So the program is the
// caller's child, in its session and its terminal's foreground group, with its user
// and its groups.
//
// An ordinary user needs user namespaces and a /dev/net/tun that is open to all,
// which is what Debian, Fedora and Arch have; root needs neither. Without a user
// namespace (as root) the program keeps root's privileges, and could leave.
package confine
