package admission

import (
	"fmt"
	"sync/atomic"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/mux/chatter"
)

// outsideShare is what part of the descriptors people outside may use, at ports that are
// published: the programs here need the rest.
const outsideShare = 2

// minReserve and reserveShare are how many of the process's descriptors are kept
// from applications: for the subflows, which must come back whatever the
// applications do, the admin listener, and name servers.
const minReserve, reserveShare = 64, 8

// Descriptors bounds how many descriptors applications make the client hold, so
// that the tunnel and the operator always find some. It is safe for concurrent use.
type Descriptors struct {
	// Set once at construction.
	most int64  // 0: the system has no limit
	text string // of words

	used    atomic.Int64
	outside atomic.Int64 // of those that are used, by visitors of published ports
	refused atomic.Uint64
	words   *chatter.Words // that something was refused

	// holders shares those among users, or hosts, that connections and associations have
	// which have said what they want.
	holders *Quota
}

// newDescriptors makes those of a process that may have so many files open, 0 = as many as it
// likes.
func newDescriptors(log zerolog.Logger, files int) *Descriptors {
	d := &Descriptors{words: chatter.NewWords(log)}
	if files > 0 {
		d.most = int64(max(files-max(files/reserveShare, minReserve), 1))
		d.text = fmt.Sprintf("programs are refused: they have, or one user alone has, as many files open as they may, %d in all of the %d that this process may open (ulimit -n, LimitNOFILE=)", d.most, files)
	}
	d.holders = NewQuota(int(d.most), 0)
	return d
}

// Most is how many applications may make the client hold, 0 = as many as they like.
func (d *Descriptors) Most() int { return int(d.most) }

// Refused is how many times there was none.
func (d *Descriptors) Refused() uint64 { return d.refused.Load() }

// refuse counts a refusal, and says so, seldom.
func (d *Descriptors) refuse() {
	d.refused.Add(1)
	d.words.Say(d.text)
}

// Hold says whether a holder may have n that Take counts besides: one alone leaves some
// to the others. What it has is his until Release.
func (d *Descriptors) Hold(h Holder, n int) bool {
	if !d.holders.Take(h, n) {
		d.refuse()
		return false
	}
	return true
}

// Release undoes one Hold.
func (d *Descriptors) Release(h Holder, n int) { d.holders.Give(h, n) }

// Take counts n more, or returns false.
func (d *Descriptors) Take(n int64) bool {
	if !grow(&d.used, n, d.most) {
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

// Give undoes one Take.
func (d *Descriptors) Give(n int64) { d.used.Add(-n) }

// Admit says whether somebody outside may have one more, which Take counts besides.
func (d *Descriptors) Admit() bool {
	most := d.most
	if most > 0 {
		most = max(most/outsideShare, 1)
	}
	if !grow(&d.outside, 1, most) {
		d.refuse()
		return false
	}
	return true
}

// Dismiss undoes one Admit.
func (d *Descriptors) Dismiss() { d.outside.Add(-1) }
