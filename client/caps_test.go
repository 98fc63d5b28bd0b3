package client

import "testing"

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
