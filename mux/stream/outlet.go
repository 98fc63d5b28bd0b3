package stream

import "github.com/mpsocks/mpsocks/mux/buf"

// outletMost is how many pieces an outlet takes between two writes: more than one read of
// a subflow brings.
const outletMost = 64

// An outlet is the socket that a WriteTo writes to, for whoever brings data while WriteTo
// waits for some: it is written to without waiting. It is in use by one at a time: WriteTo,
// or the Inbox that is the stream's holder.
type outlet struct {
	gate           // the system's part: outlet_linux.go
	views [][]byte // to be written, in order
	owned []*buf.Buffer
	taken int64 // bytes written that WriteTo has not counted
}

// add takes a view, which is borrowed until the next flush or, with b, is of b, which the
// outlet owns then.
func (o *outlet) add(view []byte, b *buf.Buffer) {
	o.views, o.owned = append(o.views, view), append(o.owned, b)
}

func (o *outlet) full() bool { return len(o.views) >= outletMost }

// rest empties the outlet after a flush and returns what was not written as Buffers, of
// which the caller is the owner.
func (o *outlet) rest(written int) (left []*buf.Buffer) {
	for i, v := range o.views {
		b := o.owned[i]
		o.views[i], o.owned[i] = nil, nil
		if n := min(written, len(v)); n == len(v) {
			written -= n
			if b != nil {
				b.Release()
			}
			continue
		} else if b != nil {
			b.Trim(n)
		} else {
			b = buf.Get(len(v) - n)
			copy(b.Bytes(), v[n:])
		}
		written -= min(written, len(v))
		left = append(left, b)
	}
	o.views, o.owned = o.views[:0], o.owned[:0]
	return left
}
