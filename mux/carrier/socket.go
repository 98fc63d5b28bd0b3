package carrier

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/mpsocks/mpsocks/mux/lull"
)

// A socket is the TCP connection under TLS. While the handshakes run it is a plain
// blocking connection under crypto/tls, which counts records. Then it makes and opens them
// itself: put only gathers, and whole batches of records are given to the
// kernel by flush, which never blocks, so that whoever brings a datagram can send it.
// Reads go to a large buffer that an idle subflow does not hold.
//
// Write side: owned by the one who writes; mu is for those who ask how much waits. Read
// side: owned by the reader.
type socket struct {
	net.Conn
	raw syscall.RawConn // nil: not a kernel socket, see flush

	seals *protection
	rekey atomic.Bool // the other end has asked for new keys of ours
	mu    sync.Mutex  // guards the rest of what is written
	out   *[]byte     // records not yet taken by the kernel; nil = none
	taken int         // bytes at the front of out that were

	written   atomic.Uint64
	tryWrite  func(fd uintptr) bool
	waitWrite func(fd uintptr) bool
	wn        int
	werr      error

	askOut   func(fd uintptr) // see outstanding
	outQueue int32

	started  bool // the handshakes are over
	intake   intake
	inbox    inbox
	received atomic.Uint64
	rest     lull.Reader // between two looks for what has come
	far      atomic.Bool // the way is so long that a rest is no matter

	// While the handshakes run.
	waits     func(wait func()) // see TLS.Waits
	most      int               // bytes that may come during crypto/tls's handshake; 0 = any number
	counts    bool              // what goes and comes is protected by the traffic secrets,
	wrote     uint64            // in so many records
	read      uint64
	in        []byte // from firstPool; nil = none
	inR, inW  int
	head      [recordHead]byte // of the record that comes
	headN     int
	left      int  // bytes of the record that crypto/tls has not read
	handsOver bool // no more records for crypto/tls

	ending sync.Mutex // guards the rest, see close
	serves bool       // receive is within a call of the kernel's or of handle
	closed bool
}

// outSize is one burst of records; appending beyond it grows the slice.
const outSize = 288 << 10

// firstRead is what is read at once while the handshakes run: who has proved nothing holds
// no more, however long it waits for its turn.
const firstRead = 4 << 10

// mostTalk is what one who has connected may say in crypto/tls's handshake, which would keep
// 64 KiB of a ClientHello and 256 KiB of certificates; a client's are 2 KiB, a browser's 1 or 2.
const mostTalk = 16 << 10

var errTalk = errors.New("tls: more than belongs to a handshake")

var (
	firstPool = sync.Pool{New: func() any { return new([firstRead]byte) }}
	outPool   = sync.Pool{New: func() any { b := make([]byte, 0, outSize); return &b }}
)

func newSocket(c net.Conn) *socket {
	k := &socket{Conn: c, waits: func(wait func()) { wait() }}
	k.init(c)
	return k
}

// Write implements net.Conn for crypto/tls, which writes records one by one when its handshake
// is over.
func (k *socket) Write(p []byte) (int, error) {
	if k.counts {
		k.wrote++
	}
	n, err := k.Conn.Write(p)
	k.written.Add(uint64(n))
	return n, err
}

// put gathers p as records; over is seal's.
func (k *socket) put(p []byte, over bool) (err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.out == nil {
		k.out = outPool.Get().(*[]byte)
	}
	if k.rekey.Load() && k.rekey.Swap(false) {
		*k.out = k.seals.seal(*k.out, kindHandshake, []byte{24, 0, 0, 1, 0}, false) // key_update, update_not_requested
		if err := k.seals.update(); err != nil {
			return err
		}
	}
	for len(p) > maxRecord {
		*k.out = k.seals.seal(*k.out, kindData, p[:maxRecord], false)
		p = p[maxRecord:]
	}
	*k.out = k.seals.seal(*k.out, kindData, p, over)
	return nil
}

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
// records at once: crypto/tls would keep the second one to itself.
func (k *socket) Read(p []byte) (int, error) {
	within := k.left > 0 || k.headN > 0
	if k.handsOver && !within {
		return 0, ErrNotYet
	}
	if k.inR == k.inW {
		var err error
		if k.waits(func() { err = k.fill() }); err != nil {
			return 0, err
		}
	}
	if k.counts && !within {
		k.read++
	}
	b := k.in[k.inR:k.inW]
	if k.most > 0 {
		if p = p[:min(len(p), k.most-1)]; len(p) == 0 {
			return 0, errTalk
		}
	}
	switch { // RFC 8446, Section 5.1: a header of type, version, length
	case k.left == 0 && k.headN == 0 && len(b) >= recordHead:
		k.left = recordHead + (int(b[3])<<8 | int(b[4]))
		b = b[:min(len(p), len(b), k.left)]
		k.left -= len(b)
	case k.left == 0: // the buffer ends within a header
		n := min(len(p), len(b), recordHead-k.headN)
		copy(k.head[k.headN:], b[:n])
		if k.headN += n; k.headN == recordHead {
			k.headN, k.left = 0, int(k.head[3])<<8|int(k.head[4])
		}
		b = b[:n]
	default:
		b = b[:min(len(p), len(b), k.left)]
		k.left -= len(b)
	}
	n := copy(p, b)
	k.most = max(k.most-n, 0)
	if k.inR += n; k.inR == k.inW {
		k.giveBack()
	}
	return n, nil
}

// giveBack gives the buffer of the handshakes back.
func (k *socket) giveBack() {
	firstPool.Put((*[firstRead]byte)(k.in))
	k.in = nil
}

// start ends the time of the handshakes: from here on records are made and opened here, behind
// those that crypto/tls has made and opened.
func (k *socket) start(seals, opens *protection, first []byte) {
	k.seals, k.started = seals, true
	k.intake.opens, k.intake.first = opens, first
	k.intake.asked = func() { k.rekey.Store(true) }
	if k.in != nil {
		k.intake.begin(k.in[k.inR:k.inW])
		k.giveBack()
	}
}

// receive calls handle for all that comes; between two calls it holds no memory but the start
// of a record. ready is as Carrier.Receive has it.
func (k *socket) receive(handle func() error, ready func() bool) error {
	if k.intake.ready() {
		if err := k.pass(handle); err != nil {
			return err
		}
	}
	k.intake.settle()
	if k.raw != nil {
		return k.serve(handle, ready)
	}
	for { // no socket of the kernel's: it holds a buffer meanwhile
		n, err := k.Conn.Read(k.intake.room())
		if n > 0 {
			err = k.came(n, handle)
		}
		if err != nil {
			return err
		}
	}
}

// came has handle read n bytes that are here.
func (k *socket) came(n int, handle func() error) error {
	k.received.Add(uint64(n))
	k.rest.Brought(n)
	k.intake.came(n)
	return k.pass(handle)
}

// pass has handle read what is here.
func (k *socket) pass(handle func() error) error {
	defer k.intake.settle()
	for {
		if err := handle(); err != nil || !k.intake.ready() {
			return err
		}
	}
}

// plain is fill for what is no socket of the kernel's: it holds a buffer meanwhile.
func (k *socket) plain() error {
	k.in = firstPool.Get().(*[firstRead]byte)[:]
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
}
