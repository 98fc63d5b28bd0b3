package admin

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/mpsocks/mpsocks/status"
)

// The client asks with its token, and without is told so.
func TestClient(t *testing.T) {
	var did []string
	s := start(t, func(c *Config) {
		c.Controls.PausePath = func(name string, paused bool) error {
			did = append(did, name)
			return nil
		}
		c.Controls.Reload = func() ([]string, error) { return []string{"one", "two"}, nil }
	})
	ctx := t.Context()
	c := NewClient(s.Addrs()[0], s.porter.token)
	st, err := c.Status(ctx)
	if err != nil || st.Half != status.Client || len(st.Session.Paths) != 2 {
		t.Errorf("%+v, %v", st, err)
	}
	if _, err := NewClient(s.Addrs()[0], "").Status(ctx); !errors.Is(err, ErrToken) {
		t.Errorf("without the token: %v", err)
	}
	if _, err := NewClient(s.Addrs()[0], "wrong").Raw(ctx); !errors.Is(err, ErrProof) {
		t.Errorf("with a wrong token: %v", err)
	}
	if err := c.Act(ctx, "pause", map[string]any{"path": "dsl", "on": true}); err != nil || !slices.Equal(did, []string{"dsl"}) {
		t.Errorf("pausing did %v, %v", did, err)
	}
	if err := c.Act(ctx, "log", map[string]any{"level": "debug"}); err == nil || err.Error() != errNotHere.Error() {
		t.Errorf("what the half does not have: %v", err)
	}
	if lines, err := c.Control(ctx, "/reload"); err != nil || !slices.Equal(lines, []string{"one", "two"}) {
		t.Errorf("reload: %v, %v", lines, err)
	}
	if _, err := c.Control(ctx, "/drain"); err == nil {
		t.Error("a drain that the half does not have")
	}
	if err := c.Healthy(ctx); err != nil {
		t.Error(err)
	}
	// Each look comes by the stream, until the one who watches has had enough.
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	looks := 0
	err = c.Watch(ctx, func(st *status.Status) {
		if st.Half != status.Client {
			t.Errorf("a look at %q", st.Half)
		}
		if looks++; looks == 2 {
			stop()
		}
		s.recorder.sample()
	})
	if looks < 2 || !errors.Is(err, context.Canceled) {
		t.Errorf("%d looks, %v", looks, err)
	}
	if h, err := c.History(t.Context()); err != nil || len(h) == 0 || !slices.ContainsFunc(h, func(p Sample) bool { _, dsl := p.Paths["dsl"]; return dsl }) {
		t.Errorf("history: %v, %v", h, err)
	}
}
