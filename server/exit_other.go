//go:build !linux

package server

import (
	"net"
	"time"

	"github.com/mpsocks/mpsocks/mux/tcpio"
)

// counted is the target as the stream gets it: it notes that bytes move.
type counted struct {
	net.Conn
	exit *exit
}

func (c counted) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.exit.touch()
	return n, err
}

func (c counted) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.exit.touch()
	return n, err
}

func (e *exit) socket() counted { return counted{e.conn(), e} }

// quietTime is not told here.
func quietTime(tcpio.Socket) (time.Duration, bool) { return 0, false }

// reset is not told here: it may be.
func reset(tcpio.Socket) bool { return true }

// unsent is not told here.
func unsent(tcpio.Socket) int { return 0 }
