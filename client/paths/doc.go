// Package paths knows the ways of this machine that lead to the server: which of those in the
// configuration can be used now, and what each is in, for the log and for people.
//
//   - links.go: the interfaces that there are, their addresses, and what a path of the
//     configuration is bound to; changes_*.go tell when something of that changes, messages.go of
//     BSD's routing socket.
//   - follow.go: the tunnel is told which paths can be used, and which of them have to be made anew:
//     those that stand on another foothold (foothold.go, hop_*.go), by another router say. fork_*.go has the next hops of
//     a route that has several at once.
//   - watch.go: what the tunnel reports becomes the state of each path, with its cause; crowded.go has
//     what hinders one that works, hindrance.go, route_*.go and trouble_*.go what the system knows of one
//     that does not.
//   - tidings.go: the log says a death once, who takes over, and a return.
//   - override.go: what a person changes by hand; describe.go: all of it, for status.
//
// A Watch has one lock and is used by any goroutine. It asks the system without it.
package paths
