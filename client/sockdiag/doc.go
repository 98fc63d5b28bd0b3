// Package sockdiag asks the system whose a socket of this machine is, by its ends: which user's,
// whether a program still has it, and which program. On Linux the kernel answers at once, about
// any socket of this network namespace, whoever asks (sock_diag(7)); other systems do not tell.
//
//   - sockdiag_linux.go: one question, one answer.
//   - programs_linux.go: the names of programs, for which all of /proc is read.
//
// It knows nothing of who asks: client/admission has programs of one user share what they may
// guess, and package client asks who may speak for an association or has gone. It has no
// goroutine and keeps nothing; a question is three system calls.
package sockdiag
