package engine

// A keeper chooses how long a path at rest may be silent: as long as what is on the way
// keeps the connection in mind, a NAT first of all, and no longer than its death may go
// unseen. It begins where nearly all of them do (RFC 5382, Section 5, asks for hours; what
// is in use forgets after 30 s at the earliest), goes on step by step as answers come after
// such a silence, and back when none came although the path was there.
type keeper struct {
	step  int
	again int64 // no step forward before then,
	pause int64 // and how long that was

	doubt   int64 // a silence after which no answer came, 0 = none
	doubtAt int64 // when it was broken
}

// keepSteps are the silences, in ns: each a quarter to a half longer than the one before.
var keepSteps = [...]int64{10e9, 15e9, 20e9, 25e9, 33e9, 41e9, keepMost}

const (
	// keepMost leaves a minute for all of: the silence, the question, and the time that
	// an answer may take.
	keepMost = 48e9
	// keepSafe is the step to begin with.
	keepSafe = 3

	// keepSlack is by how much a silence may be longer than was meant.
	keepSlack = 2e9
	// blameTime is how long after the unanswered question another subflow has to come up
	// for the path to have been there.
	blameTime = 10e9
	// keepAgain is how long a shorter silence is kept, at first: twice as long each time,
	// up to keepPatience.
	keepAgain    = 3600e9
	keepPatience = 24 * 3600e9
)

func newKeeper() keeper { return keeper{step: keepSafe} }

// every is how long the path may be silent, in ns.
func (k *keeper) every() int64 { return keepSteps[k.step] }

// held notes an answer after that silence.
func (k *keeper) held(now, silence int64) {
	k.doubt = 0
	if silence >= k.every() && now >= k.again && k.step+1 < len(keepSteps) {
		k.step++
	}
}

// missed notes that a question after that silence has no answer. Of several the shortest
// silence tells most.
func (k *keeper) missed(asked, silence int64) {
	if k.doubt == 0 || asked-k.doubtAt > blameTime || silence < k.doubt {
		k.doubt, k.doubtAt = silence, asked
	}
}

// joined notes that another subflow of the path came up: then it was not the path that
// was gone, but what it had in mind of the other one.
func (k *keeper) joined(now int64) {
	doubt := k.doubt
	k.doubt = 0
	if doubt < keepSteps[0] || doubt > k.every()+keepSlack || now-k.doubtAt > blameTime {
		return // longer than is asked of it: it says nothing
	}
	for k.step > 0 && k.every()+keepSlack >= doubt {
		k.step--
	}
	k.pause = min(max(2*k.pause, keepAgain), keepPatience)
	k.again = now + k.pause
}
