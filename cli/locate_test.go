package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/rs/zerolog"
)

// A state_dir that others can change is missed, and log and doctor say which, why, and what to do.
func TestStateDirOfOthers(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("modes say nothing there")
	}
	shared := filepath.Join(t.TempDir(), "shared")
	if err := os.Mkdir(shared, 0o700); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(shared, "mpsocks")
	for mode, want := range map[os.FileMode]string{0o777: "everybody can change what is in " + shared + " (mode 0777): run chmod go-w " + shared, 0o755: ""} {
		if err := os.Chmod(shared, mode); err != nil {
			t.Fatal(err)
		}
		t.Setenv("STATE_DIRECTORY", dir)
		d := &doctor{ctx: t.Context()}
		d.machine()
		if i := slices.IndexFunc(d.all, func(f finding) bool { return f.Check == "state" }); i < 0 || (d.all[i].Severity == fine) != (want == "") || !strings.Contains(d.all[i].Text, want) {
			t.Errorf("mode %04o: doctor says %+v", mode, d.all)
		}
		var said bytes.Buffer
		kept := dir
		keepState(&kept, zerolog.New(&said))
		if missed := kept == ""; missed != (want != "") || !strings.Contains(said.String(), want) || missed != strings.Contains(said.String(), "set state_dir") {
			t.Errorf("mode %04o: %q is used, and the log has %q", mode, kept, said.String())
		}
	}
}
