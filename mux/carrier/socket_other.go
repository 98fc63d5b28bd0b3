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

func (k *socket) fill() error {
	k.in = cipherPool.Get().(*[MostRead]byte)
	n, err := k.Conn.Read(k.in[:])
	k.inR, k.inW = 0, n
	k.received.Add(uint64(n))
	if n > 0 {
		return nil
	}
	return err
}
