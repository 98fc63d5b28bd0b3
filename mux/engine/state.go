package engine

// A State is how much a subflow is alive. It is one of these, and changes by the table
// below alone.
type State uint8

// The states of a subflow, from good to bad.
const (
	// Moving: what it carries is acknowledged in time.
	Moving State = iota
	// Resting: nothing has come by it for so long that it may be gone. It is asked before
	// it is used, unless nothing else moves.
	Resting
	// Stalled: nothing was acknowledged for about two round trips, or a probe had no
	// answer. It is used only while all are stalled, and what it holds goes again.
	Stalled
	// Unproven: a kernel has acknowledged what the peer has not. Something on the way
	// ends TCP (RFC 3135), so only the peer's own answer counts as a sign of life.
	Unproven
	// Lost: Stalled for so long that another is dialled in its place.
	Lost
	// LostUnproven: Unproven for so long.
	LostUnproven
	// Ended: its connection is at its end. It takes nothing.
	Ended
	states
)

var stateNames = [states]string{"moving", "resting", "stalled", "unproven", "lost", "lost", "ended"}

func (s State) String() string { return stateNames[s] }

// Stale says that it gives cause for doubt, and carries nothing while another one moves.
func (s State) Stale() bool { return s != Moving && s != Resting && s != Ended }

// Replaced says that another is dialled in its place.
func (s State) Replaced() bool { return s == Lost || s == LostUnproven }

// An event is what changes a State.
type event uint8

const (
	overdue  event = iota // an acknowledgement, or the answer to a probe
	missing               // the Data ACK for what a kernel has acknowledged
	forsaken              // it has been stale for so long that another is to be dialled
	progress              // something was acknowledged, or there is nothing to acknowledge
	answered              // the peer itself has answered
	ended                 // its connection
	rested                // nothing was to be carried, and nobody asked
	events
)

// transitions says what a State becomes; a State that is not named stays.
var transitions = [states][events]State{
	Moving:       {overdue: Stalled, missing: Unproven, forsaken: Moving, progress: Moving, answered: Moving, ended: Ended, rested: Resting},
	Resting:      {overdue: Stalled, missing: Unproven, forsaken: Resting, progress: Moving, answered: Moving, ended: Ended, rested: Resting},
	Stalled:      {overdue: Stalled, missing: Unproven, forsaken: Lost, progress: Moving, answered: Stalled, ended: Ended, rested: Stalled},
	Unproven:     {overdue: Unproven, missing: Unproven, forsaken: LostUnproven, progress: Unproven, answered: Stalled, ended: Ended, rested: Unproven},
	Lost:         {overdue: Lost, missing: LostUnproven, forsaken: Lost, progress: Moving, answered: Lost, ended: Ended, rested: Lost},
	LostUnproven: {overdue: LostUnproven, missing: LostUnproven, forsaken: LostUnproven, progress: LostUnproven, answered: Lost, ended: Ended, rested: LostUnproven},
	Ended:        {overdue: Ended, missing: Ended, forsaken: Ended, progress: Ended, answered: Ended, ended: Ended, rested: Ended},
}

// on moves the state on and reports whether it is another one now.
func (s *State) on(ev event) bool {
	was := *s
	*s = transitions[was][ev]
	return *s != was
}

// A PathState is how much a path may be used.
type PathState uint8

// The states of a path.
const (
	PathUp   PathState = iota
	PathDark           // one of its subflows stalled, and none has shown a sign of life since
	PathFull           // over its byte cap: carries nothing
	PathGone           // not configured any more
)

var pathStateNames = [...]string{"up", "dark", "capped", "gone"}

func (s PathState) String() string { return pathStateNames[s] }

// dark notes whether a path is dark; one that carries nothing is neither.
func (s *PathState) dark(dark bool) {
	switch {
	case *s == PathUp && dark:
		*s = PathDark
	case *s == PathDark && !dark:
		*s = PathUp
	}
}

// capped notes whether a path is over its byte cap.
func (s *PathState) capped(over bool) {
	switch {
	case *s != PathGone && over:
		*s = PathFull
	case *s == PathFull && !over:
		*s = PathUp
	}
}
