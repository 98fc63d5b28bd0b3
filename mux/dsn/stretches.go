package dsn

import (
	"slices"
	"sort"
)

const (
	// blockMemory is what a block takes, and blockLength fills it.
	blockLength = 63
	blockMemory = 1024
	// blocksKept is how long the list of blocks may have become before its memory is given back.
	blocksKept = 16
)

// A stretch is bytes without a gap, from one DSN up to another.
type stretch struct{ from, to uint64 }

// stretches are in order, with a gap between them. They lie in blocks: whoever sends chooses where
// the next one goes, and in a single slice all behind that place would move each time.
type stretches struct {
	blocks []*block // the list is nil, or has at least one; only an only one is empty
	n      int      // in all blocks
}

type block struct {
	n int
	s [blockLength]stretch
}

// A place is where a stretch is, or would be put: before the i-th of a block.
type place struct{ block, i int }

// behind finds the first that begins behind a DSN.
func (l *stretches) behind(dsn uint64) place {
	b := sort.Search(len(l.blocks), func(i int) bool { return int64(l.blocks[i].s[0].from-dsn) > 0 }) - 1
	if b < 0 || l.n == 0 {
		return place{}
	}
	of := l.blocks[b]
	return place{b, sort.Search(of.n, func(i int) bool { return int64(of.s[i].from-dsn) > 0 })}
}

// at returns the stretch of a place, nil where there is none, and before the one before it.
func (l *stretches) at(p place) *stretch {
	switch {
	case p.block < len(l.blocks) && p.i < l.blocks[p.block].n:
		return &l.blocks[p.block].s[p.i]
	case p.block+1 < len(l.blocks):
		return &l.blocks[p.block+1].s[0]
	}
	return nil
}

func (l *stretches) before(p place) *stretch {
	switch {
	case p.i > 0:
		return &l.blocks[p.block].s[p.i-1]
	case p.block > 0:
		b := l.blocks[p.block-1]
		return &b.s[b.n-1]
	}
	return nil
}

// insert puts one at a place.
func (l *stretches) insert(p place, s stretch) {
	l.n++
	if len(l.blocks) == 0 {
		l.blocks = append(l.blocks, new(block))
	}
	b := l.blocks[p.block]
	if b.n == blockLength {
		// What comes in order fills each block.
		keep := blockLength / 2
		if p.i == blockLength && p.block == len(l.blocks)-1 {
			keep = blockLength
		}
		next := new(block)
		next.n = copy(next.s[:], b.s[keep:])
		b.n = keep
		l.blocks = slices.Insert(l.blocks, p.block+1, next)
		if p.i > keep || keep == blockLength {
			p, b = place{p.block + 1, p.i - keep}, next
		}
	}
	copy(b.s[p.i+1:b.n+1], b.s[p.i:b.n])
	b.s[p.i] = s
	b.n++
}

// remove takes the one that at returns out.
func (l *stretches) remove(p place) {
	if p.i == l.blocks[p.block].n {
		p = place{p.block + 1, 0}
	}
	b := l.blocks[p.block]
	copy(b.s[p.i:], b.s[p.i+1:b.n])
	b.n--
	if l.n--; l.n == 0 {
		if cap(l.blocks) > blocksKept {
			l.blocks = nil
		}
		return
	}
	// Two neighbours have more than half of a block, so that there are not many.
	if p.block > 0 && l.join(p.block-1) {
		return
	}
	l.join(p.block)
}

// join makes one block of two, where they have little, or one of them nothing.
func (l *stretches) join(first int) bool {
	if first+1 >= len(l.blocks) {
		return false
	}
	a, b := l.blocks[first], l.blocks[first+1]
	if a.n > 0 && b.n > 0 && a.n+b.n > blockLength/2 {
		return false
	}
	copy(a.s[a.n:], b.s[:b.n])
	a.n += b.n
	l.blocks = slices.Delete(l.blocks, first+1, first+2)
	return true
}

// memory is how many bytes they take.
func (l *stretches) memory() int { return len(l.blocks)*blockMemory + cap(l.blocks)*8 }
