package chatter

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
)

// What is said again and again is a line an hour, and what else is said one in ten seconds.
func TestWordsAreSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		w := NewWords(zerolog.New(&out))
		begin := time.Now()
		for _, tt := range []struct {
			text  string
			after time.Duration
			want  int
		}{
			{"used", 0, 1},
			{"used", time.Minute, 0},
			{"other", 2 * time.Minute, 1},
			{"another", 2*time.Minute + time.Second, 0},
			{"other", 2*time.Minute + wordPause, 1},
		} {
			time.Sleep(tt.after - time.Since(begin))
			out.Reset()
			w.Say(tt.text)
			if n := bytes.Count(out.Bytes(), []byte(tt.text)); n != tt.want {
				t.Errorf("%q after %v: %d lines", tt.text, tt.after, n)
			}
		}
	})
}
