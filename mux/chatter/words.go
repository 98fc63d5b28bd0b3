package chatter

import (
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// wordPause is how often the same words are said, and wordLeast how often others at most.
const wordPause, wordLeast = time.Hour, 10 * time.Second

// Words are what is said for a person to read, that something was refused for one: a line of the
// log, seldom. It is safe for concurrent use.
type Words struct {
	log zerolog.Logger

	mu   sync.Mutex // guards the rest
	last string
	at   time.Time
}

// NewWords makes some of which nothing was said yet.
func NewWords(log zerolog.Logger) *Words { return &Words{log: log} }

// Say puts text into the log as a warning, unless it was said lately.
func (w *Words) Say(text string) {
	if w.fresh(text, time.Now()) {
		w.log.Warn().Msg(text)
	}
}

// fresh says whether the words are worth a line now.
func (w *Words) fresh(text string, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if pause := now.Sub(w.at); !w.at.IsZero() && (pause < wordLeast || text == w.last && pause < wordPause) {
		return false
	}
	w.last, w.at = text, now
	return true
}
