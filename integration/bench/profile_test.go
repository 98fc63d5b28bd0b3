//go:build linux

package main

import "testing"

func TestParseProfiled(t *testing.T) {
	for _, tc := range []struct{ flood, stream, name string }{
		{"16x32x1200", "", "flood-16x32-1200"},
		{"16x32x1200", "up", "upload-1"},
		{"", "down", "download-1"},
		{"16x32", "", ""},
		{"16x32x1200", "both", ""},
	} {
		p, err := parseProfiled(tc.flood, tc.stream)
		if err == nil != (tc.name != "") || err == nil && p.name != tc.name {
			t.Errorf("%q, %q: %q, %v", tc.flood, tc.stream, p.name, err)
		}
	}
}
