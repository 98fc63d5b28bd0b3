//go:build !unix

package carrier

import "net"

// init has nothing to prepare: without a way to try a write, the subflow's
// writer goroutine does all of them.
func (k *socket) init(net.Conn) {}

func (k *socket) flush() (blocked bool, err error) { return len(k.pending()) > 0, nil }

func (k *socket) drain() error {
	for len(k.pending()) > 0 {
		n, err := k.Conn.Write(k.pending())
		k.took(n)
		if err != nil {
			return err
		}
	}
	return nil
}

// An inbox has nothing to remember of what came.
type inbox struct{ past past }

func (k *socket) fill() error { return k.plain() }

func (k *socket) serve(func() error, func() bool) error { return net.ErrClosed } // never: raw is nil

func (k *socket) close() { k.Conn.Close() }
