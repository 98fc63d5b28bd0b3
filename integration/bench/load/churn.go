//go:build linux

package load

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mpsocks/mpsocks/integration/bench/mmsg"
	"github.com/mpsocks/mpsocks/integration/bench/socks"
)

// ChurnSpec asks for short-lived connections, one after the other in each of
// several workers.
type ChurnSpec struct {
	Proxy string // host:port
	// Target is the TCP echo behind a CONNECT; the zero value asks for UDP
	// associations, set up and torn down unused.
	Target   netip.AddrPort
	Direct   bool // no proxy: connect to the target itself
	Workers  int
	Warmup   time.Duration
	Duration time.Duration
	PIDs     []int
}

// ChurnResult is what was counted after the warm-up.
type ChurnResult struct {
	Seconds float64
	Count   int64
	Failed  int64
	Error   string // of one that failed
	CPU     []float64
}

// churner is one worker: a blocking socket at a time, from an address of its
// own, for the ports of closed connections rest for a minute.
type churner struct {
	spec  ChurnSpec
	local netip.Addr
	proxy netip.AddrPort
	b     [64]byte
}

// Churn runs the workers.
func Churn(spec ChurnSpec) (r ChurnResult, err error) {
	var proxy netip.AddrPort
	if !spec.Direct {
		if proxy, err = netip.ParseAddrPort(spec.Proxy); err != nil {
			return r, fmt.Errorf("proxy: %w", err)
		}
	}
	var (
		mu    sync.Mutex
		wg    sync.WaitGroup
		used  []float64
		begin = time.Now()
		from  = begin.Add(spec.Warmup)
		to    = from.Add(spec.Duration)
	)
	for i := range spec.Workers {
		w := &churner{spec: spec, proxy: proxy, local: netip.AddrFrom4([4]byte{127, 0, 1, byte(i + 1)})}
		wg.Go(func() {
			count, failed, last := w.run(from, to)
			mu.Lock()
			defer mu.Unlock()
			r.Count += count
			r.Failed += failed
			if last != nil {
				r.Error = last.Error()
			}
		})
	}
	time.Sleep(time.Until(from))
	if used, err = CPU(spec.PIDs); err != nil {
		wg.Wait()
		return r, err
	}
	time.Sleep(time.Until(to))
	if r.CPU, err = since(spec.PIDs, used); err != nil {
		wg.Wait()
		return r, err
	}
	wg.Wait()
	r.Seconds = spec.Duration.Seconds()
	return r, nil
}

// run counts what ends between the two times.
func (w *churner) run(from, to time.Time) (count, failed int64, last error) {
	for {
		err := w.one()
		now := time.Now()
		switch {
		case now.After(to):
			return count, failed, last
		case err != nil:
			failed++
			last = err
			// A proxy that refuses at once must not be asked in a tight loop.
			time.Sleep(time.Millisecond)
		case now.After(from):
			count++
		}
	}
}

// one is a whole life: connect, handshake, one echoed byte for a CONNECT, and
// the end, confirmed by the other side.
func (w *churner) one() error {
	peer := w.proxy
	if w.spec.Direct {
		peer = w.spec.Target
	}
	fd, err := mmsg.DialTCP(w.local, peer, 5*time.Second)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if !w.spec.Direct {
		if err := w.handshake(fd); err != nil {
			return err
		}
	}
	if w.spec.Target.IsValid() {
		if err := w.exchange(fd, []byte{'x'}, 1); err != nil {
			return fmt.Errorf("echo: %w", err)
		}
	}
	if err := unix.Shutdown(fd, unix.SHUT_WR); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	n, err := unix.Read(fd, w.b[:])
	if err != nil {
		return fmt.Errorf("close: no answer: %w", err)
	}
	if n != 0 {
		return fmt.Errorf("close was answered by %d bytes", n)
	}
	return nil
}

func (w *churner) handshake(fd int) error {
	if err := w.exchange(fd, []byte{5, 1, 0}, 2); err != nil {
		return fmt.Errorf("greeting: %w", err)
	}
	if w.b[1] != 0 {
		return socks.ErrMethod
	}
	request := [10]byte{5, socks.CommandAssociate, 0, 1}
	if w.spec.Target.IsValid() {
		request[1] = socks.CommandConnect
		addr := w.spec.Target.Addr().As4()
		copy(request[4:], addr[:])
		binary.BigEndian.PutUint16(request[8:], w.spec.Target.Port())
	}
	// The bench listens on IPv4 only, so that the reply has ten bytes.
	if err := w.exchange(fd, request[:], 10); err != nil {
		return fmt.Errorf("request: %w", err)
	}
	if w.b[1] != 0 {
		return socks.Reply(w.b[1])
	}
	return nil
}

var errShort = errors.New("closed too early")

// exchange writes and reads exactly n bytes into w.b.
func (w *churner) exchange(fd int, request []byte, n int) error {
	if _, err := unix.Write(fd, request); err != nil {
		return err
	}
	for got := 0; got < n; {
		k, err := unix.Read(fd, w.b[got:n])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		if k == 0 {
			return errShort
		}
		got += k
	}
	return nil
}
