//go:build unix

package conf

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestForbidden loads files that root alone may read as another user, in a process of its
// own: it is said who may not, and what to do.
func TestForbidden(t *testing.T) {
	if file := os.Getenv("CONF_FORBIDDEN"); file != "" {
		_, err := LoadServer(file)
		if err == nil {
			t.Fatal("it may be read")
		}
		os.Stdout.WriteString(err.Error())
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("to be another user takes root")
	}
	dir := t.TempDir()
	for up := dir; strings.HasPrefix(up, os.TempDir()+"/"); up = filepath.Dir(up) {
		if err := os.Chmod(up, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	self := filepath.Join(dir, "conf.test")
	body, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(self, body, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, dir, map[string]string{"server.yaml": goodServer, "closed/server.yaml": goodServer})
	if err := os.Chmod(filepath.Join(dir, "closed"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"server.yaml", "closed/server.yaml"} {
		file := filepath.Join(dir, name)
		cmd := exec.Command(self, "-test.run", "^TestForbidden$")
		cmd.Dir, cmd.Env = "/", append(os.Environ(), "CONF_FORBIDDEN="+file)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.HasPrefix(string(out), file+": may not be read by user ") || !strings.Contains(string(out), "chmod 640 "+file) {
			t.Errorf("%v: %s", err, out)
		}
	}
}
