package fq

import (
	"testing"

	"github.com/mpsocks/mpsocks/mux/packet"
)

// What was used long ago is not shown.
func TestTrailTurns(t *testing.T) {
	var u Trail
	u.Turn(1e9)
	u.Now = 1
	for _, c := range []struct {
		at   int64
		want uint64
	}{{2e9, 1}, {1e9 + usedTime + 1, 1}, {1e9 + 2*usedTime + 3, 0}} {
		if u.Turn(c.at); u.Now|u.Before != c.want {
			t.Errorf("at %d: %b, want %b", c.at, u.Now|u.Before, c.want)
		}
	}
}

// A stream has waited since it began to send without a pause.
func TestStreamWaits(t *testing.T) {
	f := NewFlow(packet.Key{}, 0)
	f.Stream, f.Since = idle{}, 5e9
	if got := f.Waited(6e9); got != 1e9 {
		t.Errorf("it has waited %d ns, want a second", got)
	}
}
