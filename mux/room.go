package mux

import (
	"unsafe"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/carrier"
)

// Rooms are Buffers that long records of a chunk are opened into while streams keep much of
// what comes: a segment that stays with its stream is not copied then. They are the
// reader's.
type rooms struct {
	spare *buf.Buffer   // nothing is in it
	used  []*buf.Buffer // in order; nil = given away
}

// next is the carrier's Next, into a room if such are wanted and what comes is long: number says
// into which one, 0 = none.
func (r *rooms) next(c carrier.Carrier, wanted bool) (p []byte, number int, err error) {
	if !wanted {
		p, err = c.Next()
		return p, 0, err
	}
	if r.spare == nil {
		r.spare = buf.Get(buf.MediumSize)
	}
	b := r.spare
	p, there, err := c.NextInto(b.Bytes())
	if !there {
		return p, 0, err
	}
	b.Resize(len(p))
	r.spare, r.used = nil, append(r.used, b)
	return p, len(r.used), err
}

// take gives a room away, to whoever asks for it; nil for 0.
func (r *rooms) take(number int) *buf.Buffer {
	if number == 0 {
		return nil
	}
	b := r.used[number-1]
	r.used[number-1] = nil
	return b
}

// clear gives back what was not taken, when nobody reads it any more.
func (r *rooms) clear() {
	for i, b := range r.used {
		if b != nil {
			b.Release()
		}
		r.used[i] = nil
	}
	r.used = r.used[:0]
	if r.spare != nil {
		r.spare.Release()
		r.spare = nil
	}
}

// ends says that p is the end of v.
func ends(v, p []byte) bool {
	n := len(v) - len(p)
	return n >= 0 && len(p) > 0 && unsafe.SliceData(v[n:]) == unsafe.SliceData(p)
}
