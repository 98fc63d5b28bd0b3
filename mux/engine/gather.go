package engine

// Copies of what comes in a steady row go several at once: each write costs its half a
// system call, the other half a wake-up, and the path some hundred bytes of heads. A copy
// that waits for the next ones is late when the original is lost after all, so none waits
// that may soon be needed: nothing was lost lately, the original's subflow answers in
// time and is not the farther one, and neither is it the last one of a burst.

const (
	// gatherTime is how long, in ns, a copy may wait: no longer than a path that dies in
	// the midst of a call may hold it up without a gap to hear.
	gatherTime = 10e6
	// gatherGap is how soon the next one has to follow for two to go together.
	gatherGap = 3e6
	// gatherRun is how many have followed so soon before one is believed to be: a frame
	// of video is a burst of fewer datagrams, and there is nothing behind it.
	gatherRun = 64
)

// A gathering is of the copies that a subflow is given.
type gathering struct {
	last  int64 // when there was one
	run   int   // how many were no more than gatherGap behind the one before
	since int64 // since when what is pending waits, and is nothing but copies; 0 = it goes
}

// copied takes a copy into what waits, or has all that is pending go: alone says that
// nothing was, calm that there is no need to hurry.
func (g *gathering) copied(now int64, alone, calm bool) {
	gap := now - g.last
	g.last = now
	if g.run++; gap > gatherGap {
		g.run = 0
	}
	switch {
	case !calm || g.run < gatherRun:
		g.since = 0
	case alone:
		g.since = now
	case g.since != 0 && now-g.since+gap >= gatherTime:
		g.since = 0
	}
}

// due has what has waited for long enough go.
func (g *gathering) due(now int64) {
	if now-g.since >= gatherTime {
		g.since = 0
	}
}

// calm says that what the subflows of that set carry is hardly lost.
func (r *chooser) calm(carried uint64) bool {
	if r.e.lossy || r.e.table.mode.policy().always {
		return false
	}
	for i := range r.cands {
		if c := &r.cands[i]; carried&(1<<i) != 0 && (c.Suspect || c.Stale) {
			return false
		}
	}
	return true
}

// nearer says that the copy by a subflow comes before the originals by those of a set: a path
// that has just come back gets copies first.
func (r *chooser) nearer(i int, originals uint64) bool {
	for j := range r.cands {
		if originals&(1<<j) != 0 && r.cands[i].RTT < r.cands[j].RTT {
			return true
		}
	}
	return false
}

// wait says that what is pending waits.
func (g *gathering) wait() bool { return g.since != 0 }
