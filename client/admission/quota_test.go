package admission

import (
	"net/netip"
	"testing"
)

// A holder that takes all that it can get leaves some to others; a small bound has none to
// leave.
func TestOneHolderLeavesSome(t *testing.T) {
	take := func(q *Quota, user string) (n int) {
		for q.Acquire(Holder{User: user}) {
			n++
		}
		return n
	}
	q := NewQuota(80, 0)
	if n := take(q, "greedy"); n != 70 {
		t.Errorf("one has %d of 80", n)
	}
	if n := take(q, "modest"); n != 10 {
		t.Errorf("another gets %d", n)
	}
	q.Release(Holder{User: "modest"})
	if q.Acquire(Holder{User: "greedy"}) || !q.Acquire(Holder{User: "third"}) {
		t.Error("what is left is not for who has least")
	}
	if n := take(NewQuota(4, 0), "one"); n != 4 {
		t.Errorf("%d of 4", n)
	}
	if n := take(NewQuota(80, 5), "one"); n != 5 {
		t.Errorf("%d with a bound of 5 for each", n)
	}
}

func TestQuota(t *testing.T) {
	q := NewQuota(3, 2)
	ann, host := HolderOf("ann", netip.MustParseAddr("192.0.2.1")), HolderOf("", netip.MustParseAddr("192.0.2.1"))
	for i, step := range []struct {
		h    Holder
		want bool
	}{{ann, true}, {ann, true}, {ann, false}, {host, true}, {host, false}} {
		if got := q.Acquire(step.h); got != step.want {
			t.Errorf("step %d: %v", i, got)
		}
	}
	q.Release(ann)
	if !q.Acquire(host) {
		t.Error("released, but no room")
	}
}
