package chatter

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
)

// What one client makes a log have is some lines at once and then one now and then; another
// one's are there.
func TestLinesOfAClientAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := zerolog.New(&out).Level(zerolog.InfoLevel)
		say := func(v *Voice) int {
			out.Reset()
			for range 1000 {
				v.Line(&log, zerolog.WarnLevel).Msg("often")
			}
			return bytes.Count(out.Bytes(), []byte(`"level":"warn"`))
		}
		one, other := NewVoice(), NewVoice()
		if n := say(one); n != atOnce {
			t.Errorf("%d lines", n)
		}
		if n := say(other); n != atOnce {
			t.Errorf("%d lines of another peer", n)
		}
		time.Sleep(10 * every)
		if n := say(one); n != 10 {
			t.Errorf("%d lines later", n)
		}
		log = log.Level(zerolog.DebugLevel)
		out.Reset()
		v := NewVoice()
		for range atOnce + 3 {
			v.Line(&log, zerolog.InfoLevel).Msg("all")
		}
		if n := bytes.Count(out.Bytes(), []byte(`"level":"debug"`)); n != 3 {
			t.Errorf("%d lines beyond are for who looks for faults, want 3", n)
		}
	})
}
