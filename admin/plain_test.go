package admin

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/mpsocks/mpsocks/status"
)

// What programs and peers say leaves the half without what commands a terminal or turns its
// lines round, and says the same to who reads it as JSON.
func TestAnswersArePlain(t *testing.T) {
	const rude = "a\x1b[2J\u009b2J\u202eb"
	s := start(t, func(c *Config) {
		c.Status = func() *status.Status {
			st := aStatus()
			st.Programs[0].To, st.Programs[0].User, st.Session.Paths[1].Cause, st.Config = rude, rude, rude, rude
			st.Reasons = []string{rude}
			st.Drops[rude] = 1
			return st
		}
	})
	expect := func(where, body string) {
		t.Helper()
		if i := strings.IndexFunc(body, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); i >= 0 {
			t.Errorf("%s has %q", where, body[i:min(len(body), i+20)])
		}
	}
	c := NewClient(s.Addrs()[0], s.porter.token)
	body, err := c.Raw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	expect("status", string(body))
	for _, path := range []string{"/healthz", "/history"} {
		_, body := s.get(path, s.bearer())
		expect(path, body)
	}
	resp, err := s.ask("GET", "/events", "", s.bearer())
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	event := make([]byte, 512)
	if _, err := io.ReadFull(resp.Body, event); err != nil {
		t.Fatal(err)
	}
	expect("events", strings.ToValidUTF8(string(event), ""))
	st, err := c.Status(t.Context())
	if err != nil || st.Programs[0].To != rude || st.Session.Paths[1].Cause != rude {
		t.Errorf("%+v, %v", st, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_ = c.Watch(ctx, func(st *status.Status) {
		if st.Programs[0].To != rude {
			t.Errorf("%q", st.Programs[0].To)
		}
		cancel()
	})
}
