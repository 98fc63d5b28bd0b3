package loads

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// serveStreams accepts until Close. Started by NewWorld.
func (w *World) serveStreams() {
	for {
		c, err := w.tcp.Accept()
		if err != nil {
			return
		}
		w.mu.Lock()
		w.open[c] = true
		w.mu.Unlock()
		w.wg.Go(func() { // ends with the connection, which Close closes
			w.serveStream(c)
			c.Close()
			w.mu.Lock()
			delete(w.open, c)
			w.mu.Unlock()
		})
	}
}

// serveStream answers one line, "down ID CONGESTION" or "up ID -", by an endless source or a sink.
func (w *World) serveStream(c net.Conn) {
	in := bufio.NewReaderSize(c, 256<<10)
	line, err := in.ReadString('\n')
	if err != nil {
		return
	}
	var direction, congestion string
	var id uint64
	if _, err := fmt.Sscanf(line, "%s %d %s", &direction, &id, &congestion); err != nil {
		return
	}
	if direction == string(Down) {
		if setCongestion(c, congestion) != nil {
			return
		}
		b := make([]byte, 128<<10)
		for {
			if _, err := c.Write(b); err != nil {
				return
			}
		}
	}
	w.mu.RLock()
	count := w.streams[id]
	w.mu.RUnlock()
	if count != nil {
		drain(in, count)
	}
}

// drain reads to the end and counts.
func drain(r io.Reader, count *counter) {
	b := make([]byte, 256<<10)
	for {
		n, err := r.Read(b)
		count.add(n)
		if err != nil {
			return
		}
	}
}

func setCongestion(c net.Conn, name string) error {
	t, ok := c.(*net.TCPConn)
	if !ok || name == "-" || name == "" {
		return nil
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	if err := raw.Control(func(fd uintptr) { set = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, name) }); err != nil {
		return err
	}
	return set
}

// Streams runs one transfer for its time.
func (w *World) Streams(ctx context.Context, r Route, s Streams) (*StreamResult, error) {
	if s.Begin.IsZero() {
		s.Begin = time.Now()
	}
	ctx, cancel := context.WithTimeout(ctx, s.Duration)
	defer cancel()
	from := time.Now()
	c, err := r.Stream(ctx, netip.AddrPortFrom(w.Addr, StreamPort))
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", s.Name, err)
	}
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	defer c.Close()
	count := &counter{begin: s.Begin}
	id := uint64(w.next.Add(1))
	w.mu.Lock()
	w.streams[id] = count
	w.mu.Unlock()
	congestion := s.Congestion
	if congestion == "" {
		congestion = "-"
	}
	if _, err := fmt.Fprintf(c, "%s %d %s\n", s.Direction, id, congestion); err != nil {
		return nil, fmt.Errorf("load %s: %w", s.Name, err)
	}
	if s.Direction == Down {
		drain(c, count)
	} else {
		if err := setCongestion(c, congestion); err != nil {
			return nil, fmt.Errorf("load %s: congestion control: %w", s.Name, err)
		}
		b := make([]byte, 128<<10)
		for err == nil {
			_, err = c.Write(b)
		}
	}
	if early := s.Duration - time.Since(from); early > 100*time.Millisecond {
		return count.judge(s.Name, from, s.Warmup, s.Duration), fmt.Errorf("load %s: the connection ended %v early", s.Name, early)
	}
	w.mu.Lock()
	delete(w.streams, id)
	w.mu.Unlock()
	return count.judge(s.Name, from, s.Warmup, s.Duration), nil
}
