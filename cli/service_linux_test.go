package cli

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mpsocks/mpsocks/conf"
)

// A service that cannot run this program is refused before anything of the system has changed.
func TestServiceInstallRefusedChangesNothing(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	_, there := os.Stat(systemDir)
	_, unit := os.Stat(filepath.Join(packageUnits, "mpsocks-client.service"))
	switch {
	case os.Geteuid() != 0:
		t.Skip("takes root")
	case there == nil || unit == nil:
		t.Skip("mpsocks is installed here")
	case servicesReach(self) == nil:
		t.Skipf("%s is no place that services cannot reach", self)
	}
	t.Cleanup(func() { os.RemoveAll(systemDir) })
	s := &system{kind: conf.KindClient, out: io.Discard}
	if err := s.installSystemd(filepath.Join(t.TempDir(), "client.yaml"), false); err == nil || !strings.Contains(err.Error(), "out of reach") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(systemDir); err == nil {
		t.Errorf("%s is there", systemDir)
	}
}
