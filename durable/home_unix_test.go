//go:build unix

package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// mallory is some user who is neither this one nor root.
const mallory = 54321

// give makes a file, a link or a directory another user's.
func give(t *testing.T, path string) {
	t.Helper()
	if err := os.Lchown(path, mallory, mallory); errors.Is(err, fs.ErrPermission) {
		t.Skip("needs root")
	} else if err != nil {
		t.Fatal(err)
	}
}

// directory makes one with exactly that mode.
func directory(t *testing.T, path string, mode fs.FileMode) string {
	t.Helper()
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// A place is where a directory to keep things in may be, by what is on the way to it.
type place struct {
	name string
	make func(t *testing.T, top string) (dir string)
	want string // of the error, "" for none
}

var places = []place{
	{"one that is not there", func(_ *testing.T, top string) string { return filepath.Join(top, "a", "b") }, ""},
	{"one that everybody can read", func(t *testing.T, top string) string { return directory(t, top+"/a", 0o755) }, ""},
	{"another user's", func(t *testing.T, top string) string {
		give(t, directory(t, top+"/a", 0o755))
		return top + "/a"
	}, "/a belongs to user 54321"},
	{"in another user's", func(t *testing.T, top string) string {
		directory(t, top+"/a", 0o755)
		give(t, top+"/a")
		return directory(t, top+"/a/b", 0o700)
	}, "/a belongs to user 54321"},
	{"for everybody", func(t *testing.T, top string) string { return directory(t, top+"/a", 0o777) }, "/a (mode 0777): run chmod go-w"},
	{"for everybody, and sticky", func(t *testing.T, top string) string { return directory(t, top+"/a", 0o777|fs.ModeSticky) }, ""},
	{"for a group", func(t *testing.T, top string) string {
		give(t, directory(t, top+"/a", 0o770))
		if err := os.Chown(top+"/a", 0, mallory); err != nil {
			t.Fatal(err)
		}
		return top + "/a"
	}, "its group can change"},
	{"for its owner's own group", func(t *testing.T, top string) string {
		dir := directory(t, top+"/a", 0o770)
		if err := os.Chown(dir, os.Getuid(), os.Getgid()); err != nil || os.Getgid() != os.Getuid() {
			t.Skip("this user has no group of his own")
		}
		return dir
	}, ""},
	{"under one for everybody", func(t *testing.T, top string) string {
		return directory(t, directory(t, top+"/a", 0o777)+"/b", 0o700)
	}, "/a (mode 0777)"},
	{"under a sticky one", func(t *testing.T, top string) string {
		return directory(t, directory(t, top+"/a", 0o777|fs.ModeSticky)+"/b", 0o700)
	}, ""},
	{"another user's under a sticky one", func(t *testing.T, top string) string {
		give(t, directory(t, directory(t, top+"/a", 0o777|fs.ModeSticky)+"/b", 0o755))
		return directory(t, top+"/a/b/c", 0o700)
	}, "/a/b belongs to"},
	{"behind an own link", func(t *testing.T, top string) string {
		directory(t, top+"/a", 0o700)
		link(t, "a", top+"/b")
		return top + "/b"
	}, ""},
	{"behind a link that leads to another user's", func(t *testing.T, top string) string {
		give(t, directory(t, top+"/a", 0o755))
		directory(t, top+"/c", 0o700)
		link(t, "../a/./", top+"/c/b")
		return top + "/c/b"
	}, "/a belongs to"},
	{"behind another user's link", func(t *testing.T, top string) string {
		directory(t, top+"/a", 0o777|fs.ModeSticky)
		dir := directory(t, top+"/b", 0o700)
		link(t, dir, top+"/a/b")
		give(t, top+"/a/b")
		return top + "/a/b"
	}, "/a/b is a link that user 54321 has made"},
	{"behind links in a circle", func(t *testing.T, top string) string {
		link(t, top+"/b", top+"/a")
		link(t, "a", top+"/b")
		return top + "/a"
	}, "file exists"},
	{"a file", func(t *testing.T, top string) string {
		if err := os.WriteFile(top+"/a", nil, 0o600); err != nil {
			t.Fatal(err)
		}
		return top + "/a"
	}, "not a directory"},
}

func link(t *testing.T, to, at string) {
	t.Helper()
	if err := os.Symlink(to, at); err != nil {
		t.Fatal(err)
	}
}

// TestHome: a directory is used only if nobody but this user and root can put anything into
// it, or another one into its place.
func TestHome(t *testing.T) {
	for _, p := range places {
		t.Run(p.name, func(t *testing.T) {
			dir := p.make(t, t.TempDir())
			err := Home(dir)
			if p.want == "" && err != nil || p.want != "" && (err == nil || !strings.Contains(err.Error(), p.want)) {
				t.Fatalf("%v, want %q", err, p.want)
			}
			if info, there := os.Stat(dir); err == nil && (there != nil || info.Mode().Perm()&0o002 != 0 && info.Mode()&fs.ModeSticky == 0) {
				t.Errorf("%v, %v", info, there)
			}
		})
	}
}

// TestRead: a file that others could have put there, or have seen, does not count, and nobody
// is waited for.
func TestRead(t *testing.T) {
	const limit = 10
	for _, c := range []struct {
		name         string
		make         func(t *testing.T, path string)
		want, secret string // of the errors of Read and of ReadSecret, "" for none
	}{
		{"its own", func(t *testing.T, path string) { write(t, path, 0o600) }, "", ""},
		{"one that others can read", func(t *testing.T, path string) { write(t, path, 0o640) }, "", "others can read"},
		{"one that others can change", func(t *testing.T, path string) { write(t, path, 0o620) }, "others can change", "others can change"},
		{"another user's", func(t *testing.T, path string) {
			write(t, path, 0o600)
			give(t, path)
		}, "belongs to user 54321", "belongs to user 54321"},
		{"a link", func(t *testing.T, path string) {
			write(t, path+"2", 0o600)
			link(t, path+"2", path)
		}, "a link, a pipe or a device", "a link, a pipe or a device"},
		{"a pipe", func(t *testing.T, path string) {
			if err := syscall.Mkfifo(path, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "a link, a pipe or a device", "a link, a pipe or a device"},
		{"in a directory for everybody", func(t *testing.T, path string) {
			write(t, path, 0o600)
			if err := os.Chmod(filepath.Dir(path), 0o777); err != nil {
				t.Fatal(err)
			}
		}, "everybody can change", "everybody can change"},
		{"in one for everybody that is sticky", func(t *testing.T, path string) {
			write(t, path, 0o600)
			shared(t, path)
		}, "", ""},
		{"another file's second name in such a one", func(t *testing.T, path string) {
			write(t, path+"2", 0o600)
			if err := os.Link(path+"2", path); err != nil {
				t.Fatal(err)
			}
			shared(t, path)
		}, "second name", "second name"},
		{"a second name in one of its own, as of a backup", func(t *testing.T, path string) {
			write(t, path, 0o600)
			if err := os.Link(path, path+"2"); err != nil {
				t.Fatal(err)
			}
		}, "", ""},
		{"a long one", func(t *testing.T, path string) {
			if err := os.WriteFile(path, make([]byte, limit+1), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "longer than 10 bytes", "longer than 10 bytes"},
		{"none", func(*testing.T, string) {}, "no such file", "no such file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "file")
			c.make(t, path)
			check := func(read func(string, int64) ([]byte, error), want string) {
				t.Helper()
				body, err := read(path, limit)
				if want == "" && (err != nil || string(body) != "kept") || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
					t.Errorf("%q, %v, want the error %q", body, err, want)
				}
			}
			check(Read, c.want)
			check(ReadSecret, c.secret)
		})
	}
}

// TestReadsTheDirectorysOwn: root reads what a service keeps as its own user, and others do
// not read there what they would believe.
func TestReadsTheDirectorysOwn(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	write(t, path, 0o600)
	give(t, path)
	give(t, dir)
	if body, err := ReadSecret(path, 10); err != nil || string(body) != "kept" {
		t.Errorf("root reads %q, %v", body, err)
	}
	if err := Home(dir); err == nil {
		t.Error("root would keep there what it believes")
	}
	if _, err := (keepers{0, mallory + 1}).walk(dir); err == nil {
		t.Error("another user believes what is there")
	}
}

// shared makes a file's directory one in which everybody may have files.
func shared(t *testing.T, path string) {
	t.Helper()
	if err := os.Chmod(filepath.Dir(path), 0o777|fs.ModeSticky); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path string, mode fs.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}
