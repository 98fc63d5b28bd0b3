package mux

import (
	"bytes"
	"net/netip"
	"testing"
	"testing/synctest"

	"github.com/mpsocks/mpsocks/mux/engine"
	"github.com/mpsocks/mpsocks/mux/hands"
	"github.com/mpsocks/mpsocks/mux/mptcp"
	"github.com/mpsocks/mpsocks/mux/muxtest/pipe"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// portions is a Handler that notes how much it gets at once.
type portions struct{ all, most int }

func (p *portions) Deliver(pkts [][]byte) { p.all, p.most = p.all+len(pkts), max(p.most, len(pkts)) }
func (*portions) Stream(st *Stream)       { st.Close() }
func (*portions) Closed(error)            {}

// TestReadersTakePortions: a reader takes the smallest packets, of which thousands are
// there, in portions, each in a turn of the client's, and all of them in the end.
func TestReadersTakePortions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got portions
		s := newSession(sessionConfig{handler: &got})
		s.establish(scriptOwn, scriptPeer, false)
		const record = 16 << 10
		near, far := pipe.New(1<<20, record)
		far.Start()
		const packets = 5000
		u := packet.UDP{Src: netip.MustParseAddrPort("198.18.0.2:5000"), Dst: netip.MustParseAddrPort("192.0.2.9:9"), TTL: 64}
		d := mptcp.DSS{HasMap: true, DSN8: true, DSN: scriptPeer.IDSN() + 1, SSN: 1}
		frame := 0
		for range packets {
			pkt := make([]byte, u.Overhead(0))
			packet.PutUDP(pkt, &u)
			u.ID++
			d.Length = uint16(len(pkt))
			b := append(d.Append(nil), pkt...)
			frame = len(b)
			_, _ = far.Write(b)
			d.DSN, d.SSN = d.DSN+uint64(len(pkt)), d.SSN+uint32(len(pkt))
		}
		if blocked, err := far.Flush(); blocked || err != nil {
			t.Fatal(blocked, err)
		}
		var at *engine.Path
		s.enter(func(e *engine.Engine, _ int64) { at = e.PathOf(0, engine.PathConfig{Name: "a"}) })
		if err := s.attach(newSubflow(s, at, near, s.keys())); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if most := mostPackets + record/frame + 1; got.all != packets || got.most > most {
			t.Errorf("%d of %d, up to %d of them at once, not %d", got.all, packets, got.most, most)
		}
		far.Close()
		s.end.shut(nil, false)
		synctest.Wait()
	})
}

// TestReadersGiveTurnsBack: whatever a client's reader has to read, options or records with
// next to nothing in them, what waits for a turn of that client's has it after a portion.
func TestReadersGiveTurnsBack(t *testing.T) {
	const all = 5000
	ack := mptcp.DSS{HasAck: true, Ack8: true, Ack: scriptOwn.IDSN() + 1}
	for _, x := range []struct {
		what         string
		says         []byte
		record, most int
	}{
		{"options", (&mptcp.Prio{}).Append(nil), 16 << 10, mostCommands},
		{"records", ack.Append(nil), len(ack.Append(nil)), mostRecords},
	} {
		synctest.Test(t, func(t *testing.T) {
			crowd := hands.NewCrowd(1, nil)
			own, other := crowd.Hands(), crowd.Hands()
			s := newSession(sessionConfig{handler: new(portions)})
			s.hands = own
			s.establish(scriptOwn, scriptPeer, false)
			near, far := pipe.New(1<<20, x.record)
			far.Start()
			_, _ = far.Write(bytes.Repeat(x.says, all))
			if blocked, err := far.Flush(); blocked || err != nil {
				t.Fatal(blocked, err)
			}
			other.Take() // from now on nobody is alone
			first := own.Take()
			var at *engine.Path
			s.enter(func(e *engine.Engine, _ int64) { at = e.PathOf(0, engine.PathConfig{Name: "a"}) })
			if err := s.attach(newSubflow(s, at, near, s.keys())); err != nil {
				t.Fatal(err)
			}
			synctest.Wait() // the reader waits for a turn
			before := -1
			go func() {
				turn := own.Take()
				if before = commandsAtOnce - int(s.commands.session.Tokens()); x.record < 1<<10 {
					_, got := near.Carried()
					before = int(got) / x.record
				}
				turn.Give()
			}()
			synctest.Wait()
			first.Give()
			synctest.Wait()
			if before < 1 || before > x.most {
				t.Errorf("%s: %d of %d before another turn of the client's, not up to %d", x.what, before, all, x.most)
			}
			if _, got := near.Carried(); got != uint64(all*len(x.says)) {
				t.Errorf("%s: %d bytes of %d were read", x.what, got, all*len(x.says))
			}
			far.Close()
			s.end.shut(nil, false)
			synctest.Wait()
		})
	}
}
