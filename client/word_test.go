package client

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/mux/chatter"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// TestWords: what the server says is its own word, and made harmless.
func TestWords(t *testing.T) {
	var log bytes.Buffer
	c := &Client{words: chatter.NewWords(zerolog.New(&log))}
	word := netip.AddrPortFrom(packet.ServerHost4, packet.WordPort)
	to := netip.AddrPortFrom(packet.ClientHost4, packet.DiscardPort)
	if !takeWord(c, &packet.UDP{Src: word, Dst: to}, []byte("a\x1b[2J\nb")) || !strings.Contains(log.String(), `"the server says: a[2Jb"`) {
		t.Errorf("said %s", &log)
	}
	for _, h := range []packet.UDP{
		{Src: netip.MustParseAddrPort("192.0.2.1:13"), Dst: to},
		{Src: word, Dst: netip.AddrPortFrom(packet.ClientHost4, 10)},
	} {
		if takeWord(c, &h, []byte("x")) {
			t.Errorf("%v is taken for the server's word", h)
		}
	}
}
