package cli

import (
	"io"
	"net"
	"syscall"
	"testing"
)

// hungry is a listener that has no descriptor for its first connection.
type hungry struct {
	net.Listener
	fed bool
}

func (h *hungry) Accept() (net.Conn, error) {
	if !h.fed {
		h.fed = true
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: syscall.EMFILE}
	}
	return h.Listener.Accept()
}

// A moment without descriptors does not end the way to this machine's loopback for good.
func TestForwardLocalGoesOn(t *testing.T) {
	target, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	inside, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		forwardLocal(&hungry{Listener: inside}, uint16(target.Addr().(*net.TCPAddr).Port), io.Discard)
	}()
	conn, err := net.Dial("tcp", inside.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	reached := make(chan struct{})
	go func() {
		if out, err := target.Accept(); err == nil {
			out.Close()
			close(reached)
		}
	}()
	select {
	case <-reached:
	case <-ended:
		t.Error("nothing is taken any more")
	}
	inside.Close()
	<-ended
}
