package fq

import (
	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// Where a flow stands in its band.
const (
	whereNone = iota
	whereFresh
	whereOld
)

// AtNone is a flow that is on no subflow yet.
const AtNone = 255

// A Puller makes packets when they can leave: a stream.
type Puller interface {
	// Next returns the next whole packet, of about most bytes, or nil when there is
	// nothing now; then the flow waits until it is activated again.
	Next(most int) *buf.Buffer
	// Window is how many bytes the peer takes beyond what it has in order, those that are
	// under way among them.
	Window() int
	// Ended reports that there will never be anything again.
	Ended() bool
}

// A Flow is the packets of one inner 5-tuple in the sending direction: what it
// does, what class that makes it, and what of it waits.
type Flow struct {
	Key    packet.Key
	User   string
	Wish   *Wish  // or nil
	TOS    uint8  // of its first packet, for rules
	Judged uint32 // which state of all wishes it knows
	Stream Puller // set: packets are pulled from it

	Class     Class
	Band      Class // where it waits, see Place
	Forced    bool  // a rule or the mode chose the class
	Large     bool
	Why       string
	Behaviour Behaviour

	head, tail *buf.Buffer // waiting packets
	Bytes      int
	codel      codel
	deficit    int
	where      uint8
	prev, next *Flow // on the band's list

	ID      uint32 // Identification of the next packet
	Active  int64  // last packet, ns
	Since   int64  // of a stream: since when it sends without a pause, ns
	Packets uint64
	Octets  uint64
	Copies  uint64
	Dropped uint64
	Home    uint32 // see sched.PickSteady
	At      uint8  // slot of the subflow that it is on, see sched.Settled; AtNone = none
	Used    Trail
}

// NewFlow makes the flow of that key, small until it shows otherwise; home is a number
// that flows differ in.
func NewFlow(k packet.Key, home uint32) *Flow {
	return &Flow{Key: k, Class: ClassLatency, Why: "new", Home: home, Band: ClassLatency, At: AtNone}
}

// Place is the band of a flow of its class.
func (f *Flow) Place() Class {
	if f.Wish.Limits() {
		return ClassChosen
	}
	if f.Stream != nil && f.Class == ClassBulk {
		return classStream
	}
	return f.Class
}

// Idle says that nothing of the flow waits.
func (f *Flow) Idle() bool { return f.where == whereNone && f.head == nil }

// usedTime is how long, in ns, a subflow counts as lately used, and once more.
const usedTime = 5e9

// A Trail is the subflows that a flow lately used.
type Trail struct {
	Now, Before uint64 // bit sets of slots
	since       int64  // when now began
}

// Turn begins anew when it is time.
func (t *Trail) Turn(now int64) {
	if d := now - t.since; d > usedTime {
		if t.Before = t.Now; d > 2*usedTime {
			t.Before = 0
		}
		t.Now, t.since = 0, now
	}
}
