package client

import (
	"bytes"
	"io"
	"testing"
)

// TestResolve asks for addresses as torsocks does.
func TestResolve(t *testing.T) {
	z := &zone{ttl: 300, addrs: map[string][]string{"host.test": {"192.0.2.4"}, "six.test": {"2001:db8::4"}}}
	c := start(t, &fakeTunnel{answer: z.answer}, nil)
	named := func(name string) string { return "\x03" + string([]byte{byte(len(name))}) + name + "\x00\x00" }
	six := "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x04\x00\x00"
	for _, tt := range []struct{ name, ask, want string }{
		{"IPv4", named("host.test"), "\x00\x00\x01\xc0\x00\x02\x04\x00\x00"},
		{"what is known, in other letters", named("Host.Test."), "\x00\x00\x01\xc0\x00\x02\x04\x00\x00"},
		{"IPv6", named("six.test"), "\x00\x00\x04" + six},
		{"no such name", named("none.test"), "\x04\x00\x01\x00\x00\x00\x00\x00\x00"},
		{"no name at all", named("a b"), "\x04\x00\x01\x00\x00\x00\x00\x00\x00"},
		{"an address for a name", named("[2001:db8::4]"), "\x00\x00\x04" + six},
		{"an address", "\x01\xc0\x00\x02\x09\x00\x50", "\x00\x00\x01\xc0\x00\x02\x09\x00\x00"},
	} {
		want := []byte("\x05\x00\x05" + tt.want)
		if got := talk(t, dial(t, c), []byte("\x05\x01\x00\x05\xf0\x00"+tt.ask), len(want)); !bytes.Equal(got, want) {
			t.Errorf("%s: % x, want % x", tt.name, got, want)
		}
	}
	for _, tt := range []struct{ name, host, want string }{
		{"SOCKS4A", "host.test", "\x00\x5a\x00\x00\xc0\x00\x02\x04"},
		{"SOCKS4A, IPv6", "six.test", "\x00\x5b\x00\x00\x00\x00\x00\x00"},
		{"SOCKS4A, no such name", "none.test", "\x00\x5b\x00\x00\x00\x00\x00\x00"},
		{"SOCKS4, an address", "192.0.2.9", "\x00\x5a\x00\x00\xc0\x00\x02\x09"},
	} {
		if got := talk(t, dial(t, c), ask4(cmdResolve, tt.host+":0", ""), len(tt.want)); string(got) != tt.want {
			t.Errorf("%s: % x, want % x", tt.name, got, tt.want)
		}
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	if n := z.asked["host.test"]; n != 1 {
		t.Errorf("the resolver was asked %d times", n)
	}
}

// TestResolveTogether has several programs ask for one name while there is no answer.
func TestResolveTogether(t *testing.T) {
	z := &zone{ttl: 300, addrs: map[string][]string{"host.test": {"192.0.2.4"}}}
	z.mute.Store(true)
	c := start(t, &fakeTunnel{answer: z.answer}, nil)
	answers := make(chan []byte)
	const askers = 5
	for range askers {
		conn := dial(t, c)
		conn.Write([]byte("\x05\x01\x00\x05\xf0\x00\x03\x09host.test\x00\x00"))
		go func() {
			b := make([]byte, 12)
			io.ReadFull(conn, b)
			answers <- b
		}()
	}
	eventually(t, "it is asked for", func() bool {
		z.mu.Lock()
		defer z.mu.Unlock()
		return z.asked["host.test"] > 0
	})
	z.mute.Store(false) // the next question is heard
	for range askers {
		if got := <-answers; !bytes.Equal(got, []byte("\x05\x00\x05\x00\x00\x01\xc0\x00\x02\x04\x00\x00")) {
			t.Errorf("% x", got)
		}
	}
}
