package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The client looks for the server at addresses of the family that -family names.
func TestReach(t *testing.T) {
	for family, want := range map[string][]string{
		"4": {"45.67.0.2:7443"}, "6": {"[2a0a:4567::2]:7443"}, "46": {"45.67.0.2:7443", "[2a0a:4567::2]:7443"},
	} {
		file := filepath.Join(t.TempDir(), "client.yaml")
		if err := os.WriteFile(file, []byte("server: {addresses: [old:1], public_key: k}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := (stage{options: &options{family: family}}).reach(file); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text := string(b)
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("-family %s: no %s in %s", family, w, text)
			}
		}
		if strings.Count(text, ":7443") != len(want) || strings.Contains(text, "old:1") || !strings.Contains(text, "public_key: k") {
			t.Errorf("-family %s: %s", family, text)
		}
	}
}
