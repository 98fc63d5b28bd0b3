package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// findProgram says where a program is, as a shell would.
func findProgram(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		path, err = filepath.Abs(path)
	}
	switch {
	case err == nil:
		return path, nil
	case errors.Is(err, os.ErrPermission):
		return "", exitError{exitNotExecutable, fmt.Errorf("%s: not allowed to run it", name)}
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
