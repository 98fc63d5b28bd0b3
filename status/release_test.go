package status

import (
	"strings"
	"testing"
)

func TestCompareReleases(t *testing.T) {
	for _, tt := range []struct{ theirs, ours, want string }{
		{"v1.2.3", "v1.2.3", ""},
		{"", "v1.2.3", ""},
		{"v1.2.3", "", ""},
		{"v1.2.3", "v1.9.0-4-gabcdef0", "they work together"},
		{"v2.0.0", "v1.9.0", "may not understand each other"},
		{"1.2.3", "v1.9.0", "they work together"},
		{"devel", "v1.9.0", "they work together"}, // nothing else is known of it
		{"abcdef0", "devel", "they work together"},
	} {
		got := compareReleases("the server", tt.theirs, tt.ours)
		if tt.want == "" != (got == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s here, %s there: %q, want %q", tt.ours, tt.theirs, got, tt.want)
		}
	}
	s := &Status{Version: "v1.2.0", Session: &Session{Version: "v1.3.0"}}
	if s.CompareReleases(); len(s.Warnings) != 1 || !strings.HasPrefix(s.Warnings[0], "the server is release v1.3.0") {
		t.Errorf("%q", s.Warnings)
	}
	s = &Status{Version: "v1.2.0", Clients: []Peer{{Name: "a", Version: "v1.0.0"}, {Name: "b", Version: "v1.2.0"}, {Name: "c", Version: "v1.0.0"}, {Name: "d"}}}
	if s.CompareReleases(); len(s.Warnings) != 1 || !strings.HasPrefix(s.Warnings[0], "client a (and 1 more) is release v1.0.0") {
		t.Errorf("%q", s.Warnings)
	}
}
