// Package names knows which addresses names have: for the CONNECTs and the queries of clients,
// and for the server itself. A Resolver is all that others see of it, with a Client for what each
// client has of its places. It knows no session and no stream: what a client gets is the caller's
// to send, and which address may be reached is the access rules' to say.
//
//   - places.go: a name that is asked for has a place, of its client's and of all; who finds none
//     waits for its turn (mux/turns), or is told.
//   - lookup.go: both families of a CONNECT's destination, for Happy Eyeballs.
//   - answer.go: the response to a query, made of what is known, or forwarded as it is.
//   - names.go: literals, the hosts file and the search list, and who asks the same at once;
//     known.go: what is remembered, and for how long.
//   - upstream.go: questions to the name servers, in turns, over UDP and TCP; resolvconf.go: which
//     they are; silence.go: what it means when none of them answers.
//   - message.go: what of a message is compared and changed as bytes; everything else
//     dnsmessage and mux/records read and make.
//
// Owners: answers, questions and silence each have a lock of their own, which is held while nothing is
// asked; an answer never changes once it is known.
//
// Goroutines: one per family of a Lookup, one per question to the upstreams, which those who ask
// the same share, and one per attempt of it. They end with the answer, after 12 seconds at most,
// or when the context of New does.
package names
