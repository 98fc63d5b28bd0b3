package client

import (
	"net/netip"
	"testing"
)

// A holder that takes all that it can get leaves some to others; a small bound has none to
// leave.
func TestOneHolderLeavesSome(t *testing.T) {
	take := func(q *quota, user string) (n int) {
		for q.acquire(holder{user: user}) {
			n++
		}
		return n
	}
	q := newQuota(80, 0)
	if n := take(q, "greedy"); n != 70 {
		t.Errorf("one has %d of 80", n)
	}
	if n := take(q, "modest"); n != 10 {
		t.Errorf("another gets %d", n)
	}
	q.release(holder{user: "modest"})
	if q.acquire(holder{user: "greedy"}) || !q.acquire(holder{user: "third"}) {
		t.Error("what is left is not for who has least")
	}
	if n := take(newQuota(4, 0), "one"); n != 4 {
		t.Errorf("%d of 4", n)
	}
	if n := take(newQuota(80, 5), "one"); n != 5 {
		t.Errorf("%d with a bound of 5 for each", n)
	}
}

func TestQuota(t *testing.T) {
	q := newQuota(3, 2)
	ann, host := holderOf("ann", netip.MustParseAddr("192.0.2.1")), holderOf("", netip.MustParseAddr("192.0.2.1"))
	for i, step := range []struct {
		h    holder
		want bool
	}{{ann, true}, {ann, true}, {ann, false}, {host, true}, {host, false}} {
		if got := q.acquire(step.h); got != step.want {
			t.Errorf("step %d: %v", i, got)
		}
	}
	q.release(ann)
	if !q.acquire(host) {
		t.Error("released, but no room")
	}
}
