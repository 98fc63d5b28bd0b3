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

// set has wake called at t, the zero time being none, with the stream's lock, mu, held as it is now.
func (d *deadline) set(mu *sync.Mutex, wake func(), t time.Time) {
	d.stop()
	if t.IsZero() {
		return
	}
	left := time.Until(t)
	if left <= 0 {
		d.expired = true
		wake()
		return
	}
	turn := d.turn
	d.timer = time.AfterFunc(left, func() {
		mu.Lock()
		defer mu.Unlock()
		if d.turn == turn {
			d.expired = true
			wake()
		}
	})
}

// SetDeadline sets both deadlines; the zero time means none.
func (st *Stream) SetDeadline(t time.Time) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.readDeadline.set(&st.mu, st.rouse, st.until(t))
	st.writeDeadline.set(&st.mu, st.writable.Broadcast, st.until(t))
	return nil
}

// SetReadDeadline makes Read and WriteTo fail with os.ErrDeadlineExceeded at t.
func (st *Stream) SetReadDeadline(t time.Time) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.readDeadline.set(&st.mu, st.rouse, st.until(t))
	return nil
}

// SetWriteDeadline makes Write and ReadFrom fail with os.ErrDeadlineExceeded at t.
func (st *Stream) SetWriteDeadline(t time.Time) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.writeDeadline.set(&st.mu, st.writable.Broadcast, st.until(t))
	return nil
}

// until is t, or none at all for a closed stream, where nobody waits. The lock is held.
func (st *Stream) until(t time.Time) time.Time {
	if st.closed {
		return time.Time{}
	}
	return t
}
