package client

import (
	"fmt"
	"sync/atomic"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/mux/gate"
)

// outsideShare is what part of the descriptors people outside may use, at ports that are
// published: the programs here need the rest.
const outsideShare = 2

// minReserve and reserveShare are how many of the process's descriptors are kept
// from applications: for the subflows, which must come back whatever the
// applications do, the admin listener, and name servers.
const minReserve, reserveShare = 64, 8

// descriptors bounds how many descriptors applications make the client hold, so
// that the tunnel and the operator always find some.
type descriptors struct {
	most    atomic.Int64 // 0: the system has no limit
	used    atomic.Int64
	outside atomic.Int64 // of those that are used, by visitors of published ports
	refused atomic.Uint64
	words   words  // that something was refused
	text    string // of them

	// holders shares those among users, or hosts, that connections and associations have
	// which have said what they want.
	holders *quota
}

func newDescriptors(log zerolog.Logger) *descriptors {
	d := &descriptors{words: words{log: log}}
	if limit := int64(gate.Files()); limit > 0 {
		most := max(limit-max(limit/reserveShare, minReserve), 1)
		d.most.Store(most)
		d.text = fmt.Sprintf("programs are refused: they have, or one user alone has, as many files open as they may, %d in all of the %d that this process may open (ulimit -n, LimitNOFILE=)", most, limit)
	}
	d.holders = newQuota(int(d.most.Load()), 0)
	return d
}

// refuse counts a refusal, and says so, seldom.
func (d *descriptors) refuse() {
	d.refused.Add(1)
	d.words.say(d.text)
}

// hold says whether a holder may have n that take counts besides: one alone leaves some
// to the others.
func (d *descriptors) hold(h holder, n int) bool {
	if !d.holders.take(h, n) {
		d.refuse()
		return false
	}
	return true
}

// release undoes one hold.
func (d *descriptors) release(h holder, n int) { d.holders.give(h, n) }

// take counts n more, or returns false.
func (d *descriptors) take(n int64) bool {
	if !grow(&d.used, n, d.most.Load()) {
		d.refuse()
		return false
	}
	return true
}

// grow adds n to a count that may be so much, 0 = any; false if it would be more. Who is
// refused is not counted for a moment either, in which somebody else would be refused too.
func grow(count *atomic.Int64, n, most int64) bool {
	for {
		used := count.Load()
		if most > 0 && used+n > most {
			return false
		}
		if count.CompareAndSwap(used, used+n) {
			return true
		}
	}
}

// give undoes one take.
func (d *descriptors) give(n int64) { d.used.Add(-n) }

// admit says whether somebody outside may have one more, which take counts besides.
func (d *descriptors) admit() bool {
	most := d.most.Load()
	if most > 0 {
		most = max(most/outsideShare, 1)
	}
	if !grow(&d.outside, 1, most) {
		d.refuse()
		return false
	}
	return true
}

// dismiss undoes one admit.
func (d *descriptors) dismiss() { d.outside.Add(-1) }
