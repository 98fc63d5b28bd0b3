// Package routing leads the traffic of a whole machine to a TUN device, by policy rules
// and tables of its own, and takes that back.
//
// What plan_linux.go makes of the settings, in the order in which the kernel asks:
//
//	priority  what                                          leads to
//	10900     has the mark of the subflows, or of a cgroup  the end of these rules
//	10900     asks for names, until the server's is found,  the end of these rules
//	          if only a resolver of this machine's can
//	10901     of an excluded user, port, address            the end of these rules
//	10910     to port 53                                    table 10952
//	10920     link-local, multicast                         the end of these rules
//	10930     anything                                      table 10951: chosen destinations
//	10940     anything                                      table main, without default routes
//	10950     anything                                      table 10952: everything
//	10990     -                                             what other rules there are
//
// Everything carries the protocol number 109, by which the next start, doctor and a person
// (ip rule flush protocol 109) know it, and the device's routes go with the device. Those
// that then refuse what the device took stay: a client that was killed lets nothing around.
//
// rule_linux.go speaks netlink: the library's own rules lose attributes. cgroup_linux.go
// has the kernel mark the sockets of control groups, for as long as the process lives.
// names_linux.go tells systemd-resolved where names are asked for.
package routing
