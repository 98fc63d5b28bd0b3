// Package carrier is what lies under a subflow: a connection that carries bytes in order
// and says what it knows of their way. It knows nothing of the tunnel. TLS over TCP is the
// one that there is (TLS, in tls.go); its socket may be one of the kernel's MPTCP. Another
// is a package of its own that has the methods of Carrier: package muxtest has one in
// memory, for tests.
package carrier

import "net"

// A Carrier carries the bytes of one subflow, both ways, in order and unchanged, between
// two ends that know who the other is.
//
// While the handshakes run it reads and writes as any connection does, and waits. From
// Start on nothing but Drain and Receive waits. The writing methods (Write, WriteOver, Flush, Drain)
// are called by one goroutine at a time, the reading ones (Receive, and in its handle
// Next and NextInto) by one, too; the others by any, at any time.
type Carrier interface {
	// Read is for the handshakes.
	Read(p []byte) (int, error)
	// Start ends their time. What it does not succeed in the writing methods and Receive say.
	Start()

	// Write gathers what Flush is to pass on; it keeps nothing of p. An error ends the
	// carrier.
	Write(p []byte) (int, error)
	// WriteOver is Write, and may use the byte behind p, if p has the capacity: what is at most
	// LargestFrame long is not copied then.
	WriteOver(p []byte) (int, error)
	// Flush passes on what is gathered as far as that does not wait. Blocked says that
	// something is left, for Drain.
	Flush() (blocked bool, err error)
	// Drain passes on all that is gathered and waits as long as that takes.
	Drain() error
	// LargestFrame is how many bytes Write had best be given at once: more go in parts,
	// of which the last one has to be there before the first is of use.
	LargestFrame() int

	// Receive calls handle whenever something has come, again at once if something is
	// left, and holds no more than the start of a frame between. It returns handle's error, or at the end io.EOF.
	// Before a goroutine that serves other carriers too calls handle, ready is asked whether
	// it will not wait, else Receive's own calls it; nil is for one that never waits.
	Receive(handle func() error, ready func() bool) error
	// Next returns what has come next: of a frame that was written at once, if it is not longer than
	// LargestFrame, all. It is the caller's until handle returns. ErrNotYet says that nothing
	// more is here.
	Next() ([]byte, error)
	// NextInto is Next, but what fills most of room is put there, at its beginning, and is the
	// caller's for good: there says so.
	NextInto(room []byte) (p []byte, there bool, err error)

	// Carried is how many bytes have gone to the transport and come from it, with all
	// that the carrier adds.
	Carried() (sent, received uint64)
	// Committed is how many bytes have gone to the transport when all that is gathered
	// has.
	Committed() uint64
	// Held is how many bytes of memory wait here and in the kernel for the other end.
	Held() int
	// Report asks the transport what it knows: all, or only what is outstanding. It is
	// one caller's at a time.
	Report(full bool) Report
	// Tune sets one knob of the transport, as best effort.
	Tune(k Knob, v Setting)

	LocalAddr() net.Addr
	RemoteAddr() net.Addr
	// CloseWrite sends the end behind the last bytes.
	CloseWrite()
	// Close ends the carrier, when handle is done if it runs; what is in the kernel still
	// goes out. Abort drops that.
	Close()
	Abort()
}

// A Report is what a transport knows.
type Report struct {
	Sent        uint64 // as Carried: what was written meanwhile is not in it
	Outstanding int    // of these, what the other end has not acknowledged; -1 = not known
	Known       bool   // there is an Info, and
	Packets     uint64 // how many came and went,
	Again       uint64 // with so many bytes that had gone before
	Info        Info
	Partial     bool // of Info only what went again is to be used: the kernel does not say what is under way
}

// Info is what is known of the way.
type Info struct {
	SRTT, RTTVar, MinRTT int64  // ns
	CWND                 int    // bytes
	Rate                 uint64 // of delivery, bytes a second
	Retrans, Segs        uint64 // data segments that went again, and all
	Sacked               uint64 // bytes beyond a gap
}

// A Knob is what can be set of a transport.
type Knob uint8

// The knobs.
const (
	Lowat      Knob = iota // how many bytes the kernel may hold that it has not sent
	Pace                   // at which rate it may send
	Congestion             // the congestion control
)

// A Setting is what a knob is set to: the field that its name says.
type Setting struct {
	Bytes int     // Lowat
	Rate  float64 // Pace: bytes a nanosecond; 0 = without a bound
	Name  string  // Congestion
}

// ErrNotYet is what Next says instead of waiting.
var ErrNotYet net.Error = notYet{}

type notYet struct{}

func (notYet) Error() string   { return "nothing has come yet" }
func (notYet) Timeout() bool   { return true }
func (notYet) Temporary() bool { return true }

// MostRead is how many bytes a carrier takes from its transport at once at most: sixteen
// full records. What is read at once leaves at once, and the more there is for one
// destination, the less each datagram costs.
const MostRead = 16 * (16384 + 256)
