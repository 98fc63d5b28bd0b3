package sched

import "math/bits"

// Flows that want order (QUIC): what goes by two subflows of one path is out of
// order whenever one of them waits for a retransmission, and a QUIC sender takes
// that for loss. So such a flow has one subflow of each path, its lane, from its
// first packet on; and it leaves out the paths that cost all its packets more
// than they bring. Pure, as schedule.go.

const (
	// orderedSpread is how much later than on the nearest path a QUIC-like
	// flow's packets may arrive: resequencing delays all of it by that, and
	// beyond this a farther path costs such a flow more than it brings.
	orderedSpread = 60e6
	// orderedShare is the least rate worth it, relative to the best path's: LTE beside fibre brings
	// such a flow a tenth more, also where its rate is taken for a quarter less than it is, and
	// a path that is left out shows nothing better. Less than that is lost in what order costs.
	orderedShare = 0.10
	// orderedClean is the least rate of the paths without loss, relative to the
	// best of those with it, at which they do without those: each loss there
	// holds the whole flow up for a round trip.
	orderedClean = 0.5
)

// StartBytes is what TCP may send at first (RFC 6928).
const StartBytes = 10 * 1448

// Lanes keeps the first subflow of each path that carries bulk; while TCP still
// finds its window there, the first whose window has room, and one that helps if none of these has.
func Lanes(cs []Candidate, set uint64) (lanes uint64) {
	var had uint64
	for turn := range 3 {
		for i := range cs {
			c := &cs[i]
			if set&(1<<i) != 0 && had&(1<<c.Path) == 0 && c.lane(turn) {
				had |= 1 << c.Path
				lanes |= 1 << i
			}
		}
	}
	return lanes
}

// lane says that it is in turn to be the lane of its path.
func (c *Candidate) lane(turn int) bool {
	switch turn {
	case 0:
		return c.Bulk && (c.Seen || c.Open)
	case 1:
		return c.Helps && c.Open && c.Room > 0 && !c.Suspect
	}
	return c.Bulk
}

// Together keeps, for a flow that wants order, the lanes of the paths that
// bring it more than they cost all its packets: none that is thin, none that is
// far. Paths that lose packets are left out if the others can do without; if
// not, the best of them is used alone, and nothing has to be waited for. One that may
// lose packets is left out if another is as near: the flow would find out by many.
func Together(cs []Candidate, set uint64) uint64 {
	set = Lanes(cs, set)
	most := 0.0
	for i := range cs {
		if c := &cs[i]; set&(1<<i) != 0 {
			most = max(most, c.known())
		}
	}
	nearest, nearSound := int64(1<<62), int64(1<<62)
	clean, lossy, alone := 0.0, 0.0, NoSubflow
	for i := range cs {
		c := &cs[i]
		if set&(1<<i) == 0 {
			continue
		}
		if c.Seen && c.Rate < orderedShare*most {
			set &^= 1 << i
			continue
		}
		nearest = min(nearest, c.way())
		if !c.Lossy {
			clean = max(clean, c.known(), c.Rate) // a guess gets the chance
			if !c.Stray {
				nearSound = min(nearSound, c.way())
			}
			continue
		}
		lossy = max(lossy, c.known())
		if c.known() >= orderedClean*most && (alone == NoSubflow || c.way() < cs[alone].way()) {
			alone = i
		}
	}
	if alone != NoSubflow && clean < orderedClean*lossy {
		return 1 << alone
	}
	for i := range cs {
		c := &cs[i]
		if c.way() > nearest+orderedSpread || c.Lossy && clean > 0 || c.Stray && nearSound <= c.way()+inTurn {
			set &^= 1 << i
		}
	}
	return set
}

// way is how long a packet is under way there now, but for our own queue. A
// queue in the way back counts as well: one that fills up on the way there would
// be noticed that much too late.
func (c *Candidate) way() int64 { return c.RTT/2 + max(c.Extra, c.Back) }

// known returns what the path has shown that it carries.
func (c *Candidate) known() float64 {
	if c.Seen {
		return max(c.Proven, c.Rate)
	}
	return c.Proven
}

// likely is the rate that a flow which wants order may count on: of a path that was
// never full, what it has shown, as TCP's window says little.
func (c *Candidate) likely() float64 {
	if c.Seen {
		return c.Rate
	}
	return min(c.Rate, max(c.Proven, StartBytes/float64(max(c.RTT, 1))))
}

// fill is how full the path is, in round trips' worth: what is spread evenly
// stays together, where an answer to what was sent comes a round trip late.
func (c *Candidate) fill() float64 {
	return float64(c.Flight+c.Queued) / max(c.likely()*float64(c.RTT), 1)
}

// sound keeps the subflows of paths that have lost nothing lately, if they are not
// later than best by more than a lost packet costs there.
func sound(cs []Candidate, set uint64, n int, best int) uint64 {
	latest := cs[best].smallArrival(n) + cs[best].RTT
	for i := range cs {
		if c := &cs[i]; c.Frail || c.smallArrival(n) > latest {
			set &^= 1 << i
		}
	}
	return set
}

// PickSteady is PickSmall for a flow that wants order: among equally good
// subflows it takes the lane, or, while bulk is in its way there, always the
// same one. Where TCP still finds its window it takes the emptiest: each begins
// with ten segments a round trip, and the flow would wait for them.
func PickSteady(cs []Candidate, set uint64, n int, home uint32) int {
	best := PickSmall(cs, set, n, 0)
	if best == NoSubflow {
		return best
	}
	if cs[best].Frail { // what is behind a lost packet would wait
		others := sound(cs, set, n, best)
		if other := PickSmall(cs, others, n, 0); other != NoSubflow {
			best, set = other, others
		}
	}
	if b := &cs[best]; !b.Seen && b.Open {
		for i := range cs {
			if c := &cs[i]; set&(1<<i) != 0 && c.Path == b.Path && c.Room > 0 && c.Open && !c.Suspect && c.Own < cs[best].Own {
				best = i
			}
		}
		return best
	}
	equal := peers(cs, set, n, best)
	if lane := equal & Lanes(cs, set); lane != 0 {
		return bits.TrailingZeros64(lane)
	}
	at := home % uint32(len(cs))
	if later := equal >> at << at; later != 0 {
		equal = later
	}
	return bits.TrailingZeros64(equal)
}
