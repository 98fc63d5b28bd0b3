package carrier

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"

	"golang.org/x/time/rate"
)

// An intake is what has come on a connection since Start: records, which are opened where the
// kernel has put them. Between two calls of the handle it holds no more than the
// start of a record that has not come whole. It is the reader's.
type intake struct {
	opens *protection
	asked func() // the other end has asked for new keys of ours

	first []byte // what crypto/tls had opened and nobody read
	buf   *[MostRead]byte
	large atomic.Bool // buf is there
	r, w  int         // of buf: what was not opened
	kept  *[recordMost]byte
	n     int // of kept

	updates *rate.Limiter // of KeyUpdates; nil before the first
	idle    int           // records in a row that brought no data
}

var (
	cipherPool = sync.Pool{New: func() any { return new([MostRead]byte) }}
	keptPool   = sync.Pool{New: func() any { return new([recordMost]byte) }}
)

const (
	// maxKeyUpdates is how many KeyUpdates are answered at once, and one a second more: an
	// honest peer changes its keys every few GiB.
	maxKeyUpdates = 32
	// maxIdle is how many records may come in a row that bring nothing, as in crypto/tls.
	maxIdle = 16
)

var (
	errKeyUpdates = errors.New("the peer changes its keys all the time")
	errIdle       = errors.New("tls: too many records that bring nothing")
	errRecord     = errors.New("tls: what came is no record of TLS 1.3")
	errMessage    = errors.New("tls: an unexpected message")
)

// room is where what comes is to be put; it is held until settle.
func (i *intake) room() []byte {
	if i.buf == nil {
		i.buf = cipherPool.Get().(*[MostRead]byte)
		i.large.Store(true)
	}
	return i.buf[i.n:]
}

// came takes n bytes that are in room.
func (i *intake) came(n int) {
	i.r, i.w = 0, i.n+n
	if i.kept != nil {
		copy(i.buf[:], i.kept[:i.n])
		keptPool.Put(i.kept)
		i.kept, i.n = nil, 0
	}
}

// begin takes what had come before Start.
func (i *intake) begin(b []byte) {
	if len(b) > 0 {
		i.came(copy(i.room(), b))
	}
}

// next opens the next record with data and returns what it carries, which stays until settle, or
// for good where it is there, in room: that is where what fills most of it goes.
func (i *intake) next(room []byte) (p []byte, there bool, err error) {
	if p := i.first; len(p) > 0 {
		i.first = nil
		return p, false, nil
	}
	for {
		n, err := i.length()
		if err != nil {
			return nil, false, err
		}
		if n == 0 || i.w-i.r < n {
			return nil, false, ErrNotYet
		}
		record := i.buf[i.r : i.r+n]
		i.r += n
		var into []byte
		fits := i.opens.within(n)
		if there = fits > len(room)/2 && fits <= len(room); there {
			into = room
		}
		plain, kind, err := i.opens.open(record, into)
		switch {
		case err != nil:
			return nil, false, err
		case len(plain) > maxRecord:
			return nil, false, errRecord
		case kind == kindData && len(plain) > 0:
			i.idle = 0
			return plain, there, nil
		case kind == kindAlert:
			err = alert(plain)
		case kind == kindHandshake:
			err = i.messages(plain)
		case kind != kindData:
			err = errMessage
		}
		if err != nil {
			return nil, false, err
		}
		if i.idle++; i.idle > maxIdle {
			return nil, false, errIdle
		}
	}
}

// length is that of the record that comes, 0 if it is not known.
func (i *intake) length() (int, error) {
	if i.w-i.r < recordHead {
		return 0, nil
	}
	h := i.buf[i.r:]
	n := int(h[3])<<8 | int(h[4])
	if h[0] != kindData || h[1] != 3 || h[2] != 3 || n > maxCiphertext {
		return 0, errRecord
	}
	return recordHead + n, nil
}

// ready says that next has something, if only an error.
func (i *intake) ready() bool {
	n, err := i.length()
	return err != nil || len(i.first) > 0 || n > 0 && i.w-i.r >= n
}

// settle gives the memory back, when all that is whole was opened.
func (i *intake) settle() {
	if i.buf == nil || i.ready() {
		return
	}
	if i.n == 0 && i.r < i.w {
		i.kept = keptPool.Get().(*[recordMost]byte)
		i.n = copy(i.kept[:], i.buf[i.r:i.w])
	}
	cipherPool.Put(i.buf)
	i.buf, i.r, i.w = nil, 0, 0
	i.large.Store(false)
}

// held is what it holds beyond the start of a record.
func (i *intake) held() int {
	if i.large.Load() {
		return MostRead
	}
	return 0
}

// messages takes those of the handshake that may come after it (RFC 8446, Section 4.6): a new
// session ticket means nothing here.
func (i *intake) messages(b []byte) error {
	const ticket, update = 4, 24
	for len(b) > 0 {
		if len(b) < 4 {
			return errMessage
		}
		n := 4 + (int(b[1])<<16 | int(b[2])<<8 | int(b[3]))
		switch {
		case n > len(b):
			return errMessage // messages of ours' kind fit into one record
		case b[0] == ticket:
		case b[0] == update && n == 5 && n == len(b) && b[4] <= 1: // a record ends with it (Section 5.1)
			return i.update(b[4] == 1)
		default:
			return errMessage
		}
		b = b[n:]
	}
	return nil
}

// update goes on with the other end's next keys (RFC 8446, Section 4.6.3). Its answer goes before
// what is next said, once for all that were asked for meanwhile, so that who reads
// nothing makes none pile up.
func (i *intake) update(answer bool) error {
	if i.updates == nil {
		i.updates = rate.NewLimiter(1, maxKeyUpdates)
	}
	if !i.updates.Allow() { // those that want no answer make keys anew, too
		return errKeyUpdates
	}
	if answer {
		i.asked()
	}
	return i.opens.update()
}

// alert is what an alert of the other end means (RFC 8446, Section 6).
func alert(b []byte) error {
	const closeNotify, userCanceled = 0, 90
	switch {
	case len(b) != 2:
		return errMessage
	case b[1] == closeNotify:
		return io.EOF
	case b[1] == userCanceled: // the only one that ends nothing
		return nil
	}
	return &net.OpError{Op: "remote error", Err: tls.AlertError(b[1])}
}
