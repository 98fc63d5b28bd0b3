//go:build !linux && !darwin && !windows

package client

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/mpsocks/mpsocks/client/tun"
	"github.com/mpsocks/mpsocks/conf"
)

const needsMark = false

// machineDevice is not here.
type machineDevice struct {
	name   string
	life   context.Context
	done   chan struct{}
	device *tun.Device
	failed bool
	led    atomic.Bool
}

func openMachine(*conf.TUN) (*machineDevice, error) {
	return nil, errors.New("it needs Linux, macOS or Windows")
}

func (d *machineDevice) called(string) bool { return false }

func (d *machineDevice) end()   {}
func (d *machineDevice) close() {}

func (d *machineDevice) serve(context.Context, *Client, func(*tun.Device)) error { return nil }

func (d *machineDevice) route(*Client, conf.TUN, bool) error { return nil }

func (d *machineDevice) undo() error { return nil }
