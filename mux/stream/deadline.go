package stream

import (
	"sync"
	"time"
)

// A deadline ends the waiting of Read or Write at a time. It is guarded
// by the stream's lock. Its timer is the only one a stream has, and only when
// a deadline was asked for.
type deadline struct {
	timer   *time.Timer
	turn    uint64 // a timer that was replaced while it fired does nothing
	expired bool
}

func (d *deadline) stop() {
	d.turn++
	d.expired = false
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}

func (st *Stream) setDeadline(d *deadline, c *sync.Cond, t time.Time) {
	d.stop()
	if t.IsZero() || st.closed {
		return
	}
	left := time.Until(t)
	if left <= 0 {
		d.expired = true
		c.Broadcast()
		return
	}
	turn := d.turn
	d.timer = time.AfterFunc(left, func() {
		st.mu.Lock()
		defer st.mu.Unlock()
		if d.turn == turn {
			d.expired = true
			c.Broadcast()
		}
	})
}

// SetDeadline sets both deadlines; the zero time means none.
func (st *Stream) SetDeadline(t time.Time) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.setDeadline(&st.readDeadline, &st.readable, t)
	st.setDeadline(&st.writeDeadline, &st.writable, t)
	return nil
}

// SetReadDeadline makes Read and WriteTo fail with os.ErrDeadlineExceeded at t.
func (st *Stream) SetReadDeadline(t time.Time) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.setDeadline(&st.readDeadline, &st.readable, t)
	return nil
}

// SetWriteDeadline makes Write and ReadFrom fail with os.ErrDeadlineExceeded at t.
func (st *Stream) SetWriteDeadline(t time.Time) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.setDeadline(&st.writeDeadline, &st.writable, t)
	return nil
}
