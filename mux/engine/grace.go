package engine

import "github.com/mpsocks/mpsocks/mux/fq"

// A grace is the time after a path has died or come back: what waits then is dropped neither
// for its age nor for standing, as the tunnel is what held it up. It lasts for fq.GraceTime,
// and beyond that as long as what waits becomes less: who sends no more than the other paths
// carry loses nothing, though they may need seconds to work off what a death has left. A
// session's first fq.GraceTime is one too, and no more: what a load that starts has heaped up
// is the sender's own, and would keep everybody waiting.
type grace struct {
	at     int64 // when a subflow last stalled or ended; 0: none has
	least  int   // bytes that have waited at least since it would have ended,
	lessAt int64 // when there were that few,
	over   bool  // and it has ended
}

const (
	// graceLull is how long, in ns, what waits may not have become less by graceStep.
	graceLull = 1500e6
	graceStep = 64
	// graceMost is how long it lasts at most, ns.
	graceMost = 15e9
)

// begin notes that a path has died, or a subflow ended.
func (g *grace) begin(now int64) { *g = grace{at: now} }

// lasts says that it is not over, where so many bytes wait.
func (g *grace) lasts(now int64, waiting int) bool {
	switch passed := now - g.at; {
	case passed < fq.GraceTime:
		g.least, g.lessAt = waiting, now
		return true
	case g.at == 0 || g.over || passed > graceMost:
		g.over = true
		return false
	}
	if waiting < g.least-g.least/graceStep {
		g.least, g.lessAt = waiting, now
	}
	g.over = now-g.lessAt > graceLull
	return !g.over
}
