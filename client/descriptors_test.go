package client

import (
	"io"
	"net"
	"testing"

	"github.com/mpsocks/mpsocks/client/admission"
	"github.com/mpsocks/mpsocks/conf"
)

// TestDescriptorsAreShared has one user open connections until it gets no more: another one's
// association and connection still work.
func TestDescriptorsAreShared(t *testing.T) {
	const most = 40
	c := startWith(t, &fakeTunnel{answer: echo, exit: func(conn net.Conn) {
		conn.Write([]byte{5, 0, 5, 0, 0, 1, 127, 0, 0, 1, 0, 80})
		io.Copy(io.Discard, conn)
	}}, files(most), func(cfg *conf.Client) {
		cfg.Users = []conf.User{{Name: "greedy", Password: "g"}, {Name: "modest", Password: "m"}}
	})
	ask := func(user string, command byte) (reply byte) {
		t.Helper()
		b := append([]byte{5, 1, 2, 1, byte(len(user))}, user...)
		out := talk(t, dial(t, c), append(b, 1, user[0], 5, command, 0, 1, 127, 0, 0, 1, 0, 80), 2+2+10)
		return out[5]
	}
	n := 0
	for n < 2*most && ask("greedy", 1) == 0 {
		n++
	}
	if n != most-most/admission.Reserve {
		t.Errorf("one user has %d of %d", n, most)
	}
	if got := c.Status().Refused["descriptors"]; got != 1 {
		t.Errorf("%d counted", got)
	}
	if code := ask("modest", 3); code != 0 {
		t.Errorf("another user's association: reply %d", code)
	}
	if code := ask("modest", 1); code != 0 {
		t.Errorf("another user's connection: reply %d", code)
	}
	if code := ask("greedy", 3); code == 0 {
		t.Error("the first one gets an association too")
	}
}
