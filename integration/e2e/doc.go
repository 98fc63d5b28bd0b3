// Package e2e holds the tests that cross processes: the built program, client
// and server as processes of their own, on loopback, judged from outside with
// SOCKS5 by programs that share no code with it.
//
// The tests build mpsocks once; E2E_BIN names a built one instead. They
// need neither root nor anything but a loopback interface with 127.0.0.0/8 and
// ::1, which is how Linux comes: elsewhere they are skipped, and so they are by
// `go test -short`.
package e2e
