package client

import (
	"io"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// TestUrgentData: a byte that a program sends as urgent, as telnet, rlogin and FTP do, arrives
// among the others (RFC 6093, Section 6).
func TestUrgentData(t *testing.T) {
	c := start(t, &fakeTunnel{exit: armonExit(t)}, nil)
	arrived := make(chan string, 1)
	request := tcpServer(t, func(conn *net.TCPConn) {
		all, _ := io.ReadAll(conn)
		arrived <- string(all)
	})
	conn := dial(t, c)
	talk(t, conn, append([]byte{5, 1, 0}, request...), 12)
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(conn, "ab")
	if e := raw.Control(func(fd uintptr) { _, err = unix.SendmsgN(int(fd), []byte("!"), nil, nil, unix.MSG_OOB) }); e != nil || err != nil {
		t.Fatal(e, err)
	}
	io.WriteString(conn, "cd")
	conn.CloseWrite()
	if got := <-arrived; got != "ab!cd" {
		t.Errorf("%q arrived", got)
	}
}
