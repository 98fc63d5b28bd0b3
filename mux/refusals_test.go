package mux

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/rs/zerolog"
)

// Who was refused and why is said, a few lines a minute however many there are, and all
// are counted.
func TestRefusalsAreSaid(t *testing.T) {
	var out strings.Builder
	log := zerolog.New(&out)
	var r refusals
	for i := range 1000 {
		from := &net.TCPAddr{IP: net.IPv4(192, 0, 2, byte(i%200)), Port: 1000 + i}
		err := errors.New("client's key x is not among the configured clients")
		if i%2 == 1 {
			err = fmt.Errorf("handshake: %w", os.ErrDeadlineExceeded)
		}
		r.note(&log, from, err)
	}
	lines := strings.Count(out.String(), "\n")
	if lines == 0 || lines > refusalsMost || !strings.Contains(out.String(), `"from":"192.0.2.0","reason":"unknown_key"`) || !strings.Contains(out.String(), "clients add") {
		t.Errorf("%d lines:\n%s", lines, out.String())
	}
	if c := r.list(); c[refusedKey] != 500 || c[refusedSilent] != 500 || len(c) != len(refusalWords) {
		t.Errorf("%v", c)
	}
	r.since = r.since.Add(-2 * refusalEvery)
	out.Reset()
	r.note(&log, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)}, errTooMany)
	if !strings.Contains(out.String(), fmt.Sprintf(`"more":%d`, 1000-lines)) || !strings.Contains(out.String(), `"reason":"limit"`) {
		t.Errorf("a minute later: %s", out.String())
	}
}
