// Package admission decides who of the programs that connect may come in, and what each of them
// may have of what there is little of.
//
//   - crowd.go: the connections of programs: counted, closed when the client ends, and cut when the
//     user whose they are is no more.
//   - lobby.go: those that have not said yet what they want, of which the silent ones give way.
//   - users.go: names and passwords (RFC 1929); guesses.go: what a wrong one costs whoever guesses.
//   - descriptors.go: how many files programs make the client hold, so that the tunnel and the
//     operator always find some.
//   - quota.go: caps of so many in all and so many for each holder, who is a user or a host; shares.go:
//     what other machines have, in the order in which it has to go for somebody else.
//
// Package client alone knows this room: its entrances bring connections to the Crowd, and the
// goroutine that serves one has Leave called when it ends. What is said in a connection is not known
// here, nor what a Quota counts; what is held in Shares is its owner's, who frees it.
//
// A Crowd, its Lobby, its guesses and a Quota have a lock each, and none is entered from within
// another's; Shares are guarded by their owner's. The only goroutines started here are those of
// Serve: each ends with its connection, and Wait returns after all of them. Login waits in the goroutine of
// whoever calls it, and ends with the client.
package admission
