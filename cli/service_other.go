//go:build !linux

package cli

import "errors"

// There is no systemd here.
func hasSystemd() bool                            { return false }
func (*system) installSystemd(string, bool) error { return errors.ErrUnsupported }
func (*system) uninstallSystemd() error           { return errors.ErrUnsupported }
func (*system) statusSystemd() (string, error)    { return "", errors.ErrUnsupported }
