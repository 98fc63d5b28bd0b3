// Package baseline is what mpsocks has to beat: datagrams with their length in front, all in one kernel MPTCP socket.
//
//	app --SOCKS5 UDP--> client ==one MPTCP connection==> server --UDP--> destination
//	app --SOCKS5 TCP--> client ==one MPTCP connection each==> server --TCP--> destination
//
// It is small and honest: no encryption, nothing per packet but the work, the kernel's default path manager and
// scheduler on all endpoints that were set. Both halves are commands inside the lab's own binary (Main), each in a
// process of its own.
//
// On the connection, in both directions:
//
//	+--------+-------------+------+---------+------+---------+
//	| length | association | ATYP | address | port | payload |
//	|   2    |      2      |  1   |  4, 16  |  2   |         |
//	+--------+-------------+------+---------+------+---------+
//
// where length counts what follows it, and the address is the destination's or the sender's. A connection begins with one
// byte: 'u' for datagrams, or 'c' for a stream, with ATYP, address and port after it.
package baseline
