// Package handshake makes a subflow of a connection: both sides prove their keys by TLS 1.3
// (auth.go, greeter.go), and the client opens a session or joins one by MPTCP's messages
// (mptcp.go, RFC 8684, Sections 3.1 and 3.2). It knows keys, messages and io.ReadWriters,
// and no session: whose token is whose, and who may have another subflow, its callers
// say.
package handshake
