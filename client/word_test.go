package client

import (
	"net/netip"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/mux/packet"
)

// TestWords: what the server says is its own word, and said seldom.
func TestWords(t *testing.T) {
	var w words
	now := time.Now()
	for _, tt := range []struct {
		text  string
		after time.Duration
		want  bool
	}{
		{"used", 0, true},
		{"used", time.Minute, false},
		{"other", 2 * time.Minute, true},
		{"another", 2*time.Minute + time.Second, false},
		{"other", 2*time.Minute + wordPause, true},
	} {
		if got := w.fresh(tt.text, now.Add(tt.after)); got != tt.want {
			t.Errorf("%q after %v: %v", tt.text, tt.after, got)
		}
	}
	var c Client
	word := netip.AddrPortFrom(packet.ServerHost4, packet.WordPort)
	to := netip.AddrPortFrom(packet.ClientHost4, packet.DiscardPort)
	if !c.words.take(&packet.UDP{Src: word, Dst: to}, []byte("a\x1b[2J\nb")) || c.words.last != "the server says: a[2Jb" {
		t.Errorf("said %q", c.words.last)
	}
	for _, h := range []packet.UDP{
		{Src: netip.MustParseAddrPort("192.0.2.1:13"), Dst: to},
		{Src: word, Dst: netip.AddrPortFrom(packet.ClientHost4, 10)},
	} {
		if c.words.take(&h, []byte("x")) {
			t.Errorf("%v is taken for the server's word", h)
		}
	}
}
