package stream

import (
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/mpsocks/mpsocks/mux/hands"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// What streams do beside other clients: they work a few at a time.

// crowded is a table whose client has one hand, and is not alone.
func crowded(most int) (q *quietTable, other *hands.Hands) {
	c := hands.NewCrowd(1, nil)
	q, other = newQuietTable(most), c.Hands()
	own := c.Hands()
	q.Share(own)
	own.Take()
	other.Take().Give()
	return q, other
}

// Those who serve streams that were opened at once begin one after the other: the next one
// when the first has said that it waits, or reads or writes and has to wait.
func TestStreamsBeginInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, _ := crowded(10)
		for n := range 4 {
			q.Input(maxSegment(packet.TCP{Src: netip.AddrPortFrom(packet.ClientHost4, uint16(2000+n)), Dst: exitAddr, Flags: syn}, ""))
		}
		var begun atomic.Int64
		goOn := make(chan struct{})
		for n, st := range q.opened {
			go func() {
				defer st.Rest() // where the streams are closed before it waits
				st.Begin()
				begun.Add(1)
				<-goOn
				switch n % 3 {
				case 0:
					st.Rest()
				case 1:
					_, _ = st.Read(make([]byte, 1))
				case 2:
					_, _ = st.ReadFrom(io.LimitReader(nil, 0))
				}
			}()
		}
		for n := range q.opened {
			if synctest.Wait(); int(begun.Load()) != n+1 {
				t.Fatalf("%d have begun, not %d", begun.Load(), n+1)
			}
			goOn <- struct{}{}
		}
		q.CloseAll(net.ErrClosed)
		synctest.Wait()
	})
}

// A session that ends wakes those who serve its streams a few at a time where others are
// about.
func TestStreamsEndInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, _ := crowded(200)
		var ended atomic.Int64
		for n := range 100 {
			q.Input(maxSegment(packet.TCP{Src: netip.AddrPortFrom(packet.ClientHost4, uint16(2000+n)), Dst: exitAddr, Flags: syn}, ""))
			st := q.opened[n]
			go func() {
				_, _ = st.Read(make([]byte, 1))
				ended.Add(1)
			}()
		}
		synctest.Wait()
		var all sync.WaitGroup
		all.Go(func() { q.CloseAll(net.ErrClosed) })
		synctest.Wait()
		if n := ended.Load(); n == 0 || n > endsAtOnce {
			t.Errorf("%d of 100 ended at once, of at most %d", n, endsAtOnce)
		}
		all.Wait()
		synctest.Wait()
		if n := ended.Load(); n != 100 {
			t.Errorf("%d of 100 have ended", n)
		}
	})
}

// What is cut where too much is held makes room for more than the next packet, which would
// need another look at all streams.
func TestStreamsAreNotLookedAtForEachPacket(t *testing.T) {
	q := newQuietTable(500)
	q.budget.Store(1 << 20)
	feed := func(n int) {
		q.Input(maxSegment(packet.TCP{Src: netip.AddrPortFrom(packet.ClientHost4, uint16(2000+n)), Dst: exitAddr, Flags: syn}, string(make([]byte, 3000))))
	}
	n := 0
	for ; q.Cut() == 0 && n < 500; n++ {
		feed(n)
	}
	if held, most := q.held.Load(), q.budget.Load()/8*7; held > most {
		t.Errorf("%d bytes are held after a look, of at most %d", held, most)
	}
	cut := q.Cut()
	if feed(n); cut == 0 || q.Cut() != cut {
		t.Errorf("%d streams were cut at first, and %d for the next packet", cut, q.Cut()-cut)
	}
	q.CloseAll(net.ErrClosed)
}
