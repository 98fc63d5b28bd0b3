//go:build linux

package load

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mpsocks/mpsocks/integration/bench/socks"
	"github.com/mpsocks/mpsocks/integration/bench/target"
)

// StreamSpec asks for bulk TCP streams in one direction.
type StreamSpec struct {
	Proxy    string         // host:port; empty: straight to the target
	Proxies  []string       // of one stream after the other, in place of Proxy
	Target   netip.AddrPort // the bulk target, or a relay that ends there
	Streams  int
	Upload   bool
	Warmup   time.Duration
	Duration time.Duration
	PIDs     []int
}

// StreamResult counts payload bytes.
type StreamResult struct {
	Seconds float64
	Bytes   int64
	CPU     []float64
}

// Stream runs the streams. A download counts what arrives after the warm-up.
// An upload counts everything that the target has received, from the first
// byte to its confirmation: what is still in buffers on the way is not goodput.
func Stream(spec StreamSpec) (r StreamResult, err error) {
	conns := make([]*net.TCPConn, spec.Streams)
	for i := range conns {
		if len(spec.Proxies) > 0 {
			spec.Proxy = spec.Proxies[i%len(spec.Proxies)]
		}
		if conns[i], err = openStream(spec); err != nil {
			return r, err
		}
		defer conns[i].Close()
		_ = conns[i].SetDeadline(time.Now().Add(spec.Warmup + spec.Duration + 20*time.Second))
	}
	if spec.Upload {
		return upload(spec, conns)
	}
	return download(spec, conns)
}

func openStream(spec StreamSpec) (*net.TCPConn, error) {
	if spec.Proxy != "" {
		d := socks.Dialer{Proxy: spec.Proxy}
		return d.Connect(spec.Target.String())
	}
	c, err := net.Dial("tcp", spec.Target.String())
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

func upload(spec StreamSpec, conns []*net.TCPConn) (r StreamResult, err error) {
	used, err := CPU(spec.PIDs)
	if err != nil {
		return r, err
	}
	var (
		wg    sync.WaitGroup
		total atomic.Int64
		errs  = make([]error, len(conns))
		begin = time.Now()
	)
	for i, c := range conns {
		wg.Go(func() {
			n, err := uploadOne(c, begin.Add(spec.Warmup+spec.Duration))
			total.Add(n)
			errs[i] = err
		})
	}
	wg.Wait()
	r.Seconds, r.Bytes = time.Since(begin).Seconds(), total.Load()
	for _, e := range errs {
		if e != nil {
			return r, e
		}
	}
	r.CPU, err = since(spec.PIDs, used)
	return r, err
}

func uploadOne(c *net.TCPConn, until time.Time) (int64, error) {
	b := make([]byte, target.Chunk)
	b[0] = target.Upload
	sent := int64(0)
	for b[0] != target.Last {
		if !time.Now().Before(until) {
			b[0] = target.Last
		}
		n, err := c.Write(b)
		if err != nil {
			return 0, fmt.Errorf("upload: %w", err)
		}
		sent += int64(n)
	}
	var count [8]byte
	if _, err := io.ReadFull(c, count[:]); err != nil {
		return 0, fmt.Errorf("upload: confirmation: %w", err)
	}
	if got := int64(binary.BigEndian.Uint64(count[:])); got != sent {
		return 0, fmt.Errorf("upload: %d bytes were sent, %d arrived", sent, got)
	}
	return sent, nil
}

func download(spec StreamSpec, conns []*net.TCPConn) (r StreamResult, err error) {
	var (
		wg    sync.WaitGroup
		total atomic.Int64
		errs  = make([]error, len(conns))
	)
	for i, c := range conns {
		if _, err := c.Write([]byte{target.Download}); err != nil {
			return r, fmt.Errorf("download: %w", err)
		}
		wg.Go(func() {
			b := make([]byte, target.Chunk)
			for {
				n, err := c.Read(b)
				total.Add(int64(n))
				if err != nil {
					errs[i] = err
					return
				}
			}
		})
	}
	time.Sleep(spec.Warmup)
	begin, before := time.Now(), total.Load()
	used, err := CPU(spec.PIDs)
	if err == nil {
		time.Sleep(spec.Duration)
		r.Seconds, r.Bytes = time.Since(begin).Seconds(), total.Load()-before
		r.CPU, err = since(spec.PIDs, used)
	}
	for _, c := range conns {
		// Reading ends by the deadline, which is no fault; the connection is
		// reset afterwards, with bytes on their way.
		_ = c.SetReadDeadline(time.Now())
	}
	wg.Wait()
	for _, e := range errs {
		if ne, ok := e.(net.Error); err == nil && (!ok || !ne.Timeout()) {
			err = fmt.Errorf("download: %w", e)
		}
	}
	if err == nil && r.Bytes == 0 {
		err = fmt.Errorf("download: not a byte came in %.1f s", r.Seconds)
	}
	return r, err
}
