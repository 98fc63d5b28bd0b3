package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// usualPath is where programs are looked for where no PATH says so, as execvp(3) does.
const usualPath = "/bin:/usr/bin"

// findProgram says where a program is, as a shell would.
func findProgram(name string) (string, error) {
	if _, set := os.LookupEnv("PATH"); !set && !strings.Contains(name, "/") {
		for _, dir := range filepath.SplitList(usualPath) {
			if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
				return path, nil
			}
		}
	}
	path, err := exec.LookPath(name)
	if err == nil || errors.Is(err, exec.ErrDot) { // which PATH wants
		path, err = filepath.Abs(path)
	}
	switch {
	case err == nil:
		return path, nil
	case errors.Is(err, os.ErrPermission):
		return "", exitError{exitNotExecutable, fmt.Errorf("%s: not allowed to run it", name)}
	case errors.Is(err, syscall.EISDIR):
		return "", exitError{exitNotExecutable, fmt.Errorf("%s: it is a directory", name)}
	}
	return "", exitError{exitNotFound, fmt.Errorf("%s: no such program", name)}
}

// gainsNothing warns of a program that would have another user's rights: in a user namespace
// of one user there is no other.
func gainsNothing(path string, stderr io.Writer) {
	name := filepath.Base(path)
	switch name {
	case "sudo", "su", "doas", "pkexec":
		if os.Geteuid() != 0 {
			fmt.Fprintf(stderr, "mpsocks: %s gains nothing inside: put it before mpsocks run\n", name)
		}
	}
}

// unpacks has an AppImage of today's kind unpack itself and not mount itself: the helper that
// it would mount with is set-uid root.
func unpacks(path string) {
	const setting = "APPIMAGE_EXTRACT_AND_RUN" // of the AppImage's own beginning
	f, err := os.Open(path)
	if err != nil {
		return // the system says why it cannot be run
	}
	defer f.Close()
	var head [11]byte
	if _, err := io.ReadFull(f, head[:]); err != nil || string(head[:4]) != "\x7fELF" || string(head[8:]) != "AI\x02" {
		return
	}
	if _, set := os.LookupEnv(setting); !set && os.Geteuid() != 0 {
		os.Setenv(setting, "1")
	}
}
