package client

import (
	"net/netip"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/mux/packet"
	"github.com/mpsocks/mpsocks/status"
)

const (
	// maxWord is how much of what the server says is repeated.
	maxWord = 300
	// wordPause is how often the same words are said, and others at most.
	wordPause, wordLeast = time.Hour, 10 * time.Second
)

// words is what the server has said for a person to read, of its client's quota for
// one: a line of the log, seldom.
type words struct {
	log zerolog.Logger

	mu   sync.Mutex // guards the rest
	last string
	at   time.Time
}

// fresh says whether the words are worth a line now.
func (w *words) fresh(text string, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if pause := now.Sub(w.at); !w.at.IsZero() && (pause < wordLeast || text == w.last && pause < wordPause) {
		return false
	}
	w.last, w.at = text, now
	return true
}

// take takes words of the server, which come from a port of its own to one that no
// program gets; false if the packet is something else.
func (w *words) take(h *packet.UDP, payload []byte) bool {
	if h.Src != netip.AddrPortFrom(packet.ServerHost4, packet.WordPort) || h.Dst != netip.AddrPortFrom(packet.ClientHost4, packet.DiscardPort) {
		return false
	}
	text := status.Plain(string(payload[:min(len(payload), maxWord)]))
	if text != "" {
		w.say("the server says: " + text)
	}
	return true
}

// say puts text into the log, unless it was said lately.
func (w *words) say(text string) {
	if w.fresh(text, time.Now()) {
		w.log.Warn().Msg(text)
	}
}
