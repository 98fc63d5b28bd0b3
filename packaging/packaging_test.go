package packaging

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A service that is started again when it fails is so for as long as it takes: what it waits
// for, an address or a port, may come long after the machine's start.
func TestUnitsDoNotGiveUp(t *testing.T) {
	units := 0
	err := filepath.WalkDir("systemd", func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".service" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		units++
		unit, service, ok := strings.Cut(string(text), "[Service]")
		if !ok || !strings.Contains(service, "\nRestart=on-failure\n") {
			t.Errorf("%s is not started again", path)
		}
		if !strings.Contains(unit, "\nStartLimitIntervalSec=0\n") {
			t.Errorf("%s is given up after a few failures", path)
		}
		return nil
	})
	if err != nil || units != 3 {
		t.Errorf("%d units, %v", units, err)
	}
}
