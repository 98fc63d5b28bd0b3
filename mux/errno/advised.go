package errno

import (
	"errors"
	"fmt"
	"io/fs"
)

// An Advised is an error that says what a person can do about it, so that nobody else adds that.
type Advised struct {
	Err    error
	Advice string
}

func (e *Advised) Error() string { return e.Err.Error() + ": " + e.Advice }

func (e *Advised) Unwrap() error { return e.Err }

// Advise makes one of an error.
func Advise(err error, format string, args ...any) error {
	return &Advised{err, fmt.Sprintf(format, args...)}
}

// AdviseBind makes one of an error of binding an address, if it is one that people can mend.
func AdviseBind(err error) error {
	switch {
	case errors.Is(err, AddrInUse):
		return Advise(err, "another program, or another mpsocks, has this port; stop it, or choose another port in the configuration")
	case errors.Is(err, AddrNotAvail):
		return Advise(err, "this machine does not have the address; `mpsocks check` shows where it is used")
	case errors.Is(err, Access), errors.Is(err, fs.ErrPermission):
		return Advise(err, "run as root or with CAP_NET_BIND_SERVICE, or choose another port")
	}
	return err
}
