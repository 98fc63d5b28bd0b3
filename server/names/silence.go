package names

import (
	"net/netip"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/mux/resolvconf"
)

const (
	// silentTime is for how long, and silentQuestions how many in a row have had no answer
	// from any server when that is written into the log: some names nobody answers for.
	silentTime      = 5 * time.Second
	silentQuestions = 4
)

// A silence is how long no server has answered anything. It is safe for concurrent use.
type silence struct {
	log zerolog.Logger

	mu    sync.Mutex // guards the rest
	since time.Time  // the first question without an answer; zero = there is none
	ended int        // questions without one
	said  bool
}

// asked notes that a server was asked.
func (s *silence) asked() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.since.IsZero() {
		s.since = time.Now()
	}
}

// answered notes that one has answered, whatever.
func (s *silence) answered() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.said {
		s.log.Info().Stringer("after", time.Since(s.since).Round(time.Second)).Msg("a name server answers again")
	}
	s.since, s.ended, s.said = time.Time{}, 0, false
}

// unheard notes that a question to these servers has ended without an answer, and says, once,
// that no server gives any.
func (s *silence) unheard(servers []netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended++; !s.said && s.ended >= silentQuestions && !s.since.IsZero() && time.Since(s.since) >= silentTime {
		s.said = true
		s.log.Warn().Any("servers", servers).Str("remedy", "look at the nameserver lines of "+resolvconf.Path+", and whether they answer from here").
			Msg("no name server answers: names are not resolved")
	}
}
