// Package interop sends the traffic of other people's programs through both
// halves of the built binary: curl, quic-go, dig, Go's resolver, PySocks,
// txthinking's client, Chromium; and it lets tshark read what a capture says.
// None of these programs is ours, so what they accept is SOCKS5, MPTCP, IP, UDP
// and TCP as others understand them. `make interop` installs the ones that are
// missing, from Debian, where it may; a test whose program is missing is
// skipped and says which.
package interop
