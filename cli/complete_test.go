package cli

import (
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestCompletion: a shell is offered what a value may be, files where one is meant and nothing
// where it cannot be guessed.
func TestCompletion(t *testing.T) {
	dir := aServer(t)
	file := filepath.Join(dir, "server.yaml")
	run(t, "clients", "add", "phone", "-c", file, "--out", filepath.Join(dir, "phone.yaml"))
	const nothing, anyFile, ofKind, folders = ":4", ":0", ":8", ":16" // cobra's directives
	for _, tt := range []struct {
		line      string
		want      string // words
		directive string
		linux     bool
	}{
		{"status ", "client server", nothing, false},
		{"service install s", "server", nothing, false},
		{"reload ", "", nothing, false},
		{"keygen --out ", "", anyFile, false},
		{"client --capture ", "", anyFile, false},
		{"check -c ", "yaml yml toml json", ofKind, false},
		{"clients list -c ", "yaml yml toml json", ofKind, false},
		{"man --dir ", "", folders, false},
		{"init --server ", "", nothing, false},
		{"clients revoke -c " + file + " ", "phone", nothing, false},
		{"clients rotate -c " + file + " ", "phone", nothing, false},
		{"clients rotate -c " + file + " phone ", "", nothing, false},
		{"run --class ", "latency bulk ordered metered backup", nothing, true},
		{"run -c ", "yaml yml toml json", ofKind, true},
		{"run ", "", anyFile, true},
		{"run -- tar ", "", anyFile, true},
	} {
		if tt.linux && runtime.GOOS != "linux" {
			continue
		}
		words := strings.Split(tt.line, " ")
		stdout, _, code := command(t, append([]string{"__complete"}, words...)...)
		var got []string
		for line := range strings.Lines(stdout) {
			word, _, _ := strings.Cut(strings.TrimSpace(line), "\t")
			got = append(got, word)
		}
		if want := append(strings.Fields(tt.want), tt.directive); code != 0 || strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("%s: %d, %q, want %q", tt.line, code, got, want)
		}
	}
}
