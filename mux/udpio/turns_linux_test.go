//go:build linux && !mpsocks_portable

package udpio

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// oneTurn is what an owner's turn brings at most: the last socket that is visited has all of
// its batches.
const oneTurn = turnDatagrams + maxBatches*batchSize

// there waits until a socket has something to read.
func there(t *testing.T, c *Conn) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if n, err := unix.IoctlGetInt(c.fd, unix.TIOCINQ); err == nil && n > 0 {
			return
		}
	}
	t.Fatal("the datagram does not come")
}

// Somebody's many full sockets hold another's datagram up for one turn, also where there are
// more of them than epoll tells of at once; and nothing is forgotten.
func TestOwnersTakeTurns(t *testing.T) {
	const each = 2*batchSize + 2
	for _, crowd := range []int{1, 8, maxEvents, 2*maxEvents + 40} {
		l := idle(t, nil)
		u := plain(t, any4)
		came, before, ones, pauses := 0, -1, 0, 0
		l.turns.yield = func() { pauses++ }
		var many []*Conn
		for range crowd {
			c := listen(t, l, any4, Options{Owner: "many"}, func(_ *Conn, msgs []Message) { came += len(msgs) })
			many = append(many, c)
		}
		one := listen(t, l, any4, Options{Owner: "one"}, func(_ *Conn, msgs []Message) {
			if ones += len(msgs); before < 0 {
				before = came
			}
		})
		for round := 1; round <= 2; round++ {
			came, before, pauses = 0, -1, 0
			sent := 0
			for _, c := range many {
				for range each {
					if _, err := u.WriteToUDPAddrPort([]byte("x"), c.LocalAddr()); err == nil {
						sent++
					}
				}
			}
			u.WriteToUDPAddrPort([]byte("x"), one.LocalAddr())
			there(t, many[crowd-1])
			there(t, one)
			drain(l)
			if ones != round || came != sent {
				t.Fatalf("%d sockets: %d of %d datagrams of the one, %d of %d of the many", crowd, ones, round, came, sent)
			}
			if before > oneTurn {
				t.Errorf("%d sockets: the one's datagram came behind %d of the many's, a turn is %d", crowd, before, oneTurn)
			}
			if pauses < came/oneTurn-1 {
				t.Errorf("%d sockets: others had the processor %d times, in %d turns", crowd, pauses, came/oneTurn)
			}
		}
	}
}

// Who comes while others' sockets are read is the next, however many of these wait.
func TestNewcomerIsNext(t *testing.T) {
	const each, crowd = 2 * batchSize, 2*maxEvents + 40
	l := idle(t, nil)
	u := plain(t, any4)
	var one *Conn
	came, before, sent, ones := 0, 0, 0, 0
	one = listen(t, l, any4, Options{Owner: "one"}, func(_ *Conn, msgs []Message) { before = came; ones++ })
	var many []*Conn
	for range crowd {
		many = append(many, listen(t, l, any4, Options{Owner: "many"}, func(_ *Conn, msgs []Message) {
			if came += len(msgs); sent == 0 && came > 20*oneTurn {
				u.WriteToUDPAddrPort([]byte("x"), one.LocalAddr())
				there(t, one)
				sent = came
			}
		}))
	}
	for _, c := range many {
		for range each {
			u.WriteToUDPAddrPort([]byte("x"), c.LocalAddr())
		}
	}
	there(t, many[crowd-1])
	drain(l)
	if ones != 1 || sent == 0 {
		t.Fatalf("the one's datagram came %d times, sent after %d others", ones, sent)
	}
	if before-sent > oneTurn {
		t.Errorf("it came behind %d of the others', a turn is %d", before-sent, oneTurn)
	}
}

// Sockets may be closed while they wait for a turn, and owners are forgotten with their last.
func TestWaitingSocketsClose(t *testing.T) {
	l := idle(t, nil)
	u := plain(t, any4)
	var many []*Conn
	calls := 0
	for range 3 * turnSockets {
		many = append(many, listen(t, l, any4, Options{Owner: 1}, func(*Conn, []Message) {
			if calls++; calls == turnSockets {
				for _, c := range many {
					c.Close()
				}
			}
		}))
	}
	other := listen(t, l, any4, Options{Owner: 2}, func(*Conn, []Message) {})
	for _, c := range many {
		u.WriteToUDPAddrPort([]byte("x"), c.LocalAddr())
	}
	there(t, many[len(many)-1])
	drain(l)
	if calls != turnSockets {
		t.Errorf("%d calls, %d before all were closed", calls, turnSockets)
	}
	if other.Close(); len(l.turns.owners) != 0 || len(l.turns.line) != 0 {
		t.Errorf("%d owners and %d in the line, of no socket", len(l.turns.owners), len(l.turns.line))
	}
}

// What each owner's turn has brought goes out before the next one's.
func TestTurnsGoOutSingly(t *testing.T) {
	var order []string
	l := idle(t, func() { order = append(order, "out") })
	u := plain(t, any4)
	for _, name := range []string{"a", "b"} {
		for range 2 {
			c := listen(t, l, any4, Options{Owner: name}, func(*Conn, []Message) { order = append(order, name) })
			u.WriteToUDPAddrPort([]byte("x"), c.LocalAddr())
			there(t, c)
		}
	}
	drain(l)
	if got, want := strings.Join(order, " "), "a a out b b out"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
