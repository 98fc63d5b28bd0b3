package client

import (
	"slices"

	"github.com/mpsocks/mpsocks/client/admission"
)

const (
	// maxUnderWay is how many names are asked for at once: two questions each, and the server
	// answers 128 of one client at once, with those of CONNECTs, of which one holder has 64. underWayEach is how many of
	// them one holder may have: the rest is for others, whatever he asks for.
	maxUnderWay  = 28
	underWayEach = 20
)

// An asking is the names that are asked for: those that are under way, and those that wait
// for that, each holder's in their order, the holders in turn. Its owner's lock guards it.
type asking struct {
	under, waits int
	by           map[admission.Holder]*asker
	turn         []admission.Holder // those with names that wait
}

// An asker is what one holder has.
type asker struct {
	names   int // under way or waiting
	under   int
	waiting []*name
	bytes   int // of datagrams that wait for names, whoever asked for these
}

// of returns what a holder has.
func (k *asking) of(h admission.Holder) *asker {
	a := k.by[h]
	if a == nil {
		if k.by == nil {
			k.by = make(map[admission.Holder]*asker)
		}
		a = new(asker)
		k.by[h] = a
	}
	return a
}

// tidy forgets a holder who has nothing.
func (k *asking) tidy(h admission.Holder) {
	if a := k.by[h]; a != nil && a.names == 0 && a.bytes == 0 {
		delete(k.by, h)
	}
}

// hold counts bytes of a holder's that wait, of so many at most in all and for each; false if
// that is too much.
func (k *asking) hold(h admission.Holder, n int) bool {
	a := k.of(h)
	if n > 0 && a.bytes+n > maxWaiting/2 {
		k.tidy(h)
		return false
	}
	a.bytes += n
	k.tidy(h)
	return true
}

// enter takes a name in. now says that it is asked for at once; ok, that there is room.
func (k *asking) enter(n *name) (now, ok bool) {
	a := k.of(n.holder)
	if k.under+k.waits >= maxQuestions || a.names >= maxQuestions/2 {
		k.tidy(n.holder)
		return false, false
	}
	a.names++
	if k.under < maxUnderWay && a.under < underWayEach {
		k.under++
		a.under++
		return true, true
	}
	if len(a.waiting) == 0 {
		k.turn = append(k.turn, n.holder)
	}
	a.waiting = append(a.waiting, n)
	k.waits++
	return false, true
}

// leave notes that a name is asked for no more; begun says that it was under way.
func (k *asking) leave(n *name, begun bool) {
	a := k.of(n.holder)
	a.names--
	if begun {
		k.under--
		a.under--
	} else if i := slices.Index(a.waiting, n); i >= 0 {
		k.waits--
		if a.waiting = slices.Delete(a.waiting, i, i+1); len(a.waiting) == 0 {
			k.turn = slices.DeleteFunc(k.turn, func(h admission.Holder) bool { return h == n.holder })
		}
	}
	k.tidy(n.holder)
}

// next returns a name that is to be asked for now, or nil: the holders take turns.
func (k *asking) next() *name {
	if k.under >= maxUnderWay {
		return nil
	}
	for i, h := range k.turn {
		a := k.by[h]
		if a.under >= underWayEach {
			continue
		}
		n := a.waiting[0]
		a.waiting[0] = nil
		a.waiting = a.waiting[1:]
		k.turn = slices.Delete(k.turn, i, i+1)
		if len(a.waiting) > 0 {
			k.turn = append(k.turn, h)
		}
		k.waits--
		k.under++
		a.under++
		return n
	}
	return nil
}

// each calls f for all that wait.
func (k *asking) each(f func(*name)) {
	for _, h := range k.turn {
		for _, n := range k.by[h].waiting {
			f(n)
		}
	}
}
