//go:build !linux && !darwin && !windows

package carrier

import "net"

// Here TCP says nothing, and in-band probes measure.

func (k *socket) info(*Report) bool        { return false }
func (k *socket) outstanding() (int, bool) { return 0, false }
func (k *socket) setCongestion(string)     {}
func (k *socket) setPace(float64)          {}
func (k *socket) setLowat(int)             {}
func tune(net.Conn, int)                   {}
