package server

import "testing"

// fill takes sockets of a kind until there are none for the holding, and counts them.
func fill(s *sockets, h *holding, k kind) (n int) {
	for s.take(h, k) {
		n++
	}
	return n
}

// One client cannot take what another needs, however many there are of those who take
// all that they get.
func TestSocketsOfAClientAreItsShare(t *testing.T) {
	s := &sockets{most: 192}
	for i := range 5 {
		greedy := new(holding)
		n := fill(s, greedy, exitSocket) + fill(s, greedy, mappingSocket)
		if n == 0 || n > 96 {
			t.Errorf("client %d has %d of 192 sockets", i, n)
		}
		s.give(greedy, exitSocket)
		if !s.take(greedy, mappingSocket) {
			t.Error("what was given back cannot be had")
		}
	}
	if !s.take(new(holding), mappingSocket) {
		t.Error("an honest one gets none")
	}
}

// Programs that connect without end leave sockets for those of datagrams, and the other
// way round.
func TestOneKindLeavesSocketsForTheOther(t *testing.T) {
	for _, most := range []int{16, 192, 1 << 16} {
		for _, greedy := range []kind{exitSocket, mappingSocket} {
			s, h := &sockets{most: most}, new(holding)
			took := fill(s, h, greedy)
			if left := fill(s, h, 1-greedy); left == 0 || left < most/12 || took < most/3 {
				t.Errorf("of %d: one kind took %d, and %d are left for the other", most, took, left)
			}
		}
	}
}

func TestSocketsWithoutACap(t *testing.T) {
	s, h := new(sockets), new(holding)
	for range 1000 {
		if !s.take(h, exitSocket) {
			t.Fatal("no limit is known, and there is one")
		}
	}
	if s.full(h, mappingSocket) || s.count() != 1000 {
		t.Error("what is taken without a cap is not counted")
	}
}
