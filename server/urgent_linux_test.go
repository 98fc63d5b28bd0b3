package server

import (
	"io"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// TestConnectUrgentData: a byte that a target sends as urgent, as telnet's and rlogin's servers
// do, arrives among the others (RFC 6093, Section 6).
func TestConnectUrgentData(t *testing.T) {
	p := newPeer(testServer(t, nil, nil), "laptop", newFakeSession())
	ln := listenTCP(t, "127.0.0.1:0")
	failed := make(chan error, 1)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			failed <- err
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "ab")
		raw, err := c.(*net.TCPConn).SyscallConn()
		if err == nil {
			_ = raw.Control(func(fd uintptr) { _, err = unix.SendmsgN(int(fd), []byte("!"), nil, nil, unix.MSG_OOB) })
		}
		_, _ = io.WriteString(c, "cd")
		failed <- err
	}()
	app, _ := connectTo(t, p, ln, "")
	if got, err := io.ReadAll(app); string(got) != "ab!cd" || err != nil {
		t.Errorf("%q arrived, %v", got, err)
	}
	if err := <-failed; err != nil {
		t.Error(err)
	}
}
