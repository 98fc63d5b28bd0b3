package carrier

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/time/rate"

	"github.com/mpsocks/mpsocks/mux/lull"
)

// A socket is the TCP connection under TLS. While the handshakes run it is a plain
// blocking connection. Then Write only gathers: whole batches of records are given to the
// kernel by flush, which never blocks, so that whoever brings a datagram can send it.
// Reads come from a large buffer that an idle subflow does not hold.
//
// Write side: owned by the one who writes; mu is for the alert that crypto/tls may write
// from the reader. Read side: owned by the reader.
type socket struct {
	net.Conn
	raw syscall.RawConn // nil: not a kernel socket, see flush

	gathering bool
	mu        sync.Mutex    // guards the rest of what is written
	updates   *rate.Limiter // of answers to KeyUpdates, about; nil before the first
	out       *[]byte       // records not yet taken by the kernel; nil = none
	taken     int           // bytes at the front of out that were

	written   atomic.Uint64
	tryWrite  func(fd uintptr) bool
	waitWrite func(fd uintptr) bool
	wn        int
	werr      error

	askOut   func(fd uintptr) // see outstanding
	outQueue int32

	in       []byte // from cipherPool or firstPool; nil = none
	inR, inW int
	head     [5]byte // of the record that comes
	headN    int
	left     int // bytes of the record that crypto/tls has not read
	inbox    inbox
	received atomic.Uint64
	rest     lull.Reader // between two looks for what has come
	far      atomic.Bool // the way is so long that a rest is no matter

	ending sync.Mutex // guards the rest, see close
	serves bool       // receive is within a call of the kernel's or of handle
	closed bool
}

// outSize is one burst of records; appending beyond it grows the slice.
const outSize = 288 << 10

// firstRead is what is read at once while the handshakes run: who has proved nothing holds
// no more, however long it waits for its turn.
const firstRead = 4 << 10

var (
	cipherPool = sync.Pool{New: func() any { return new([MostRead]byte) }}
	firstPool  = sync.Pool{New: func() any { return new([firstRead]byte) }}
	outPool    = sync.Pool{New: func() any { b := make([]byte, 0, outSize); return &b }}
)

func newSocket(c net.Conn) *socket {
	k := &socket{Conn: c}
	k.init(c)
	return k
}

// Write implements net.Conn for crypto/tls.
func (k *socket) Write(p []byte) (int, error) {
	if !k.gathering {
		n, err := k.Conn.Write(p)
		k.written.Add(uint64(n))
		return n, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(p) == keyUpdateSize {
		if k.updates == nil {
			k.updates = rate.NewLimiter(1, maxKeyUpdates)
		}
		if !k.updates.Allow() {
			return 0, errKeyUpdates
		}
	}
	if k.out == nil {
		k.out = outPool.Get().(*[]byte)
	}
	*k.out = append(*k.out, p...)
	return len(p), nil
}

// crypto/tls answers every KeyUpdate that asks for one (RFC 8446, Section 4.6.3), also
// to a peer that reads nothing, and never begins one. The answer is a record of the
// handshake of one byte's body in TLS's ciphers of 16-byte tags; that a record of ours
// has this size by chance is rare. An honest peer changes its keys every few GiB: so many are
// answered at once, and one a second more.
const (
	keyUpdateSize = 5 + 4 + 1 + 1 + 16
	maxKeyUpdates = 32
)

var errKeyUpdates = errors.New("the peer changes its keys all the time")

// idle says that nothing has come that has not been read.
func (k *socket) idle() bool { return k.inR == k.inW }

// pending returns the bytes that wait for the kernel.
func (k *socket) pending() []byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.out == nil {
		return nil
	}
	return (*k.out)[k.taken:]
}

// gathered is the memory of what waits for the kernel.
func (k *socket) gathered() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.out == nil {
		return 0
	}
	return cap(*k.out)
}

// took notes that the kernel took n bytes, and gives the buffer back when it
// took all.
func (k *socket) took(n int) {
	k.written.Add(uint64(n))
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.taken += n; k.taken == len(*k.out) {
		*k.out = (*k.out)[:0]
		if cap(*k.out) <= 2*outSize {
			outPool.Put(k.out)
		}
		k.out, k.taken = nil, 0
	}
}

// Read implements net.Conn for crypto/tls. It never returns bytes of two
// records at once: crypto/tls would keep the second one to itself, where wait
// cannot see it.
func (k *socket) Read(p []byte) (int, error) {
	if k.inR == k.inW {
		if k.gathering {
			return 0, ErrNotYet
		}
		if err := k.fill(); err != nil {
			return 0, err
		}
	}
	b := k.in[k.inR:k.inW]
	switch { // RFC 8446, Section 5.1: a header of type, version, length
	case k.left == 0 && k.headN == 0 && len(b) >= 5:
		k.left = 5 + (int(b[3])<<8 | int(b[4]))
		b = b[:min(len(p), len(b), k.left)]
		k.left -= len(b)
	case k.left == 0: // the buffer ends within a header
		n := min(len(p), len(b), 5-k.headN)
		copy(k.head[k.headN:], b[:n])
		if k.headN += n; k.headN == 5 {
			k.headN, k.left = 0, int(k.head[3])<<8|int(k.head[4])
		}
		b = b[:n]
	default:
		b = b[:min(len(p), len(b), k.left)]
		k.left -= len(b)
	}
	n := copy(p, b)
	if k.inR += n; k.inR == k.inW {
		k.giveBack()
	}
	return n, nil
}

// borrow takes a buffer to read into.
func (k *socket) borrow() {
	if k.gathering {
		k.in = cipherPool.Get().(*[MostRead]byte)[:]
	} else {
		k.in = firstPool.Get().(*[firstRead]byte)[:]
	}
}

// giveBack gives it back.
func (k *socket) giveBack() {
	if len(k.in) == MostRead {
		cipherPool.Put((*[MostRead]byte)(k.in))
	} else {
		firstPool.Put((*[firstRead]byte)(k.in))
	}
	k.in = nil
}

// receive calls handle for all that comes; between two calls it holds no memory.
func (k *socket) receive(handle func() error) error {
	if err := k.pass(handle); err != nil {
		return err
	}
	if k.raw != nil {
		return k.serve(handle)
	}
	for {
		if err := k.read(); err != nil {
			return err
		}
		if err := k.pass(handle); err != nil {
			return err
		}
	}
}

// pass has handle read what is here.
func (k *socket) pass(handle func() error) error {
	for !k.idle() {
		if err := handle(); err != nil {
			return err
		}
	}
	return nil
}

// read is fill for what is no socket of the kernel's: it holds a buffer meanwhile.
func (k *socket) read() error {
	k.borrow()
	n, err := k.Conn.Read(k.in)
	if k.filled(n); n > 0 {
		return nil
	}
	k.giveBack()
	return err
}

// filled notes that in holds n bytes.
func (k *socket) filled(n int) {
	k.inR, k.inW = 0, n
	k.received.Add(uint64(n))
	k.rest.Brought(n)
}

// recordBuffered reports whether the next whole TLS record is here already,
// so that a read will not block (RFC 8446, Section 5.1: type, version,
// length).
func (k *socket) recordBuffered() bool {
	n := k.inW - k.inR
	if n < 5 || k.left != 0 || k.headN != 0 {
		return false
	}
	return n-5 >= int(k.in[k.inR+3])<<8|int(k.in[k.inR+4])
}
