// Package load makes the bench's traffic: floods of datagrams, quiet flows,
// idle associations, short connections and bulk streams, through a SOCKS5 proxy
// or without one. The bench runs it in a child process of its own, so that the
// orchestrator's memory and goroutines disturb nothing; every function blocks
// for the whole measurement and returns what it counted.
//
// All of it is IPv4 on loopback, on Linux. A cheap generator is the point: it
// shares two processors with the program under test.
package load
