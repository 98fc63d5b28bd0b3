//go:build unix

package conf

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Who may read a file with secrets, by mode, owner and group.
func TestOwnership(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("giving files to others takes root")
	}
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte("AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	groups, err := os.Getgroups()
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setgroups([]int{0, 12345}); err != nil {
		t.Skip(err)
	}
	defer syscall.Setgroups(groups)
	for _, tt := range []struct {
		mode         os.FileMode
		owner, group int
		want         string // "" = accepted
	}{
		{0o600, 0, 0, ""},
		{0o400, 4321, 4321, ""},
		{0o640, 0, 12345, ""}, // root:mpsocks
		{0o440, 0, 0, ""},     // LoadCredential=
		{0o640, 0, 4321, ""},  // this is root
		{0o640, 4321, 12345, "only a file of root"},
		{0o660, 0, 12345, "others"},
		{0o604, 0, 0, "others"},
		{0o444, 0, 0, "others"},
		{0o602, 0, 0, "others"},
	} {
		if err := os.Chmod(path, tt.mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(path, tt.owner, tt.group); err != nil {
			t.Fatal(err)
		}
		_, err := ReadKeyFile(path)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%04o %d:%d: %v", tt.mode, tt.owner, tt.group, err)
		}
	}
}

func TestMayRead(t *testing.T) {
	for _, tt := range []struct {
		group, user int
		groups      []int
		want        bool
	}{
		{4321, 0, nil, true},
		{4321, 1000, []int{1000, 4321}, true},
		{4321, 1000, []int{1000}, false},
		{0, 1000, []int{1000}, true},
	} {
		if got := mayRead(tt.group, tt.user, tt.groups); got != tt.want {
			t.Errorf("%+v: %v", tt, got)
		}
	}
}

func TestCredentialsDirectory(t *testing.T) {
	dir := place(t)
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	other := t.TempDir()
	write(t, other, map[string]string{"s.yaml": "clients: [{name: a, public_key: " + keyA + "}]\nprivate_key_file: ${CREDENTIALS_DIRECTORY}/server.key"})
	if _, err := LoadServer(filepath.Join(other, "s.yaml")); err != nil {
		t.Error(err)
	}
}
