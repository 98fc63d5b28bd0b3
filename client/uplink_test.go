package client

import "testing"

// TestTunnelControlIsOutOfReach sends to the tunnel's own addresses.
func TestTunnelControlIsOutOfReach(t *testing.T) {
	f := &fakeTunnel{answer: echo}
	c := start(t, f, nil)
	_, relay := associated(t, c, anywhere)
	a := newApp(t, "127.0.0.1", relay)
	refused := []string{
		"198.18.0.1:9", "[fd6d:7073::1]:9", "[::ffff:198.18.0.1]:9", "198.18.0.1:11", "198.18.0.2:1024", "198.19.255.255:53",
		"[fd6d:7073::2]:7", "[fd6d:7073:ffff::1]:9", "198.18.0.1.:9",
	}
	for _, to := range refused {
		a.send(t, datagram(0, to, []byte("\xc6\x12\x00\x02\x04\x00")))
	}
	a.echoes(t, "198.18.0.1:7", []byte("the echo is for everybody"))
	a.echoes(t, "198.18.0.1:53", []byte("so is the resolver"))
	if n := c.drops[dropTunnel].Load(); int(n) != len(refused) || len(f.sent()) != 2 {
		t.Errorf("%d dropped, %d sent", n, len(f.sent()))
	}
}
