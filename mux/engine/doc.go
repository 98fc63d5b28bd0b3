// Package engine is the data level of one session as a value: what waits, what is under
// way, and what is known of paths and subflows. It takes the time, in nanoseconds, and
// what has been learnt: packets and Data ACKs, what carriers report of their
// connections, answers to probes, ends of subflows. It returns what is to be done:
// batches for a subflow, options, tuning, subflows that are to be replaced.
//
//	Send, Wake ─► fq ─► Assign (sched) ─► Next: a batch of a subflow ─► Wrote
//	Acked, Learn, Probe, Heard ─► Tick: stalls, reinjection, measuring ─► Orders
//
// It has no lock, no goroutine and no clock and makes no system call: its owner, the
// session, enters it with one lock held and does the rest. So a session can be run again:
// record.go writes each call and its answer down, replay.go makes the calls anew.
//
// What is decided where: flow.go, which class a flow has, by rules, the mode and what it
// does; assign.go, where a packet goes, and gather.go, when its copies do; state.go, whether
// a subflow or a path lives; tick.go, when it stalls, and lack.go, when what a kernel has
// acknowledged is missed; slow.go, whether a path is thin; throttle.go, whether a
// connection is slowed by itself and made anew; rest.go and keeper.go, when a path
// rests and how often it is asked then; reinject.go, what goes again; unlock.go, what goes
// once more when nothing else may; estimate.go and tune.go, how fast a path may be sent to
// and how its connections are set.
package engine
