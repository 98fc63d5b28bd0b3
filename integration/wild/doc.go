// Package wild has what happens to ordinary people on ordinary networks, one test each:
// paths that lose large packets, captive portals, interfaces that come late, addresses and
// names that change, servers that hang, and accelerators that acknowledge for a server.
// The tests make network namespaces of their own, joined by veth, and run the real halves
// there; they need root, and iproute2. What they log are the figures; what they hold is
// generous, for machines that do much else.
package wild
