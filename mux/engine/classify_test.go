package engine

import (
	"testing"

	"github.com/mpsocks/mpsocks/mux/fq"
	"github.com/mpsocks/mpsocks/mux/packet"
)

func TestBehaviour(t *testing.T) {
	s := &table{flows: map[packet.Key]*fq.Flow{}}
	f := fq.NewFlow(packet.Key{Proto: packet.ProtoUDP}, 0)
	feed := func(from, to int64, perWindow int) {
		for now := from; now < to; now += 1e6 {
			s.classify(f, perWindow/100, nil, now)
			f.Packets++
		}
	}
	feed(0, 1e9, 12<<10) // a game: 1 Mbit/s
	if f.Class != fq.ClassLatency {
		t.Errorf("a game is %v", f.Class)
	}
	feed(1e9, 11e8, 200<<10) // 16 Mbit/s
	if f.Class != fq.ClassBulk {
		t.Errorf("a download is %v after 100 ms", f.Class)
	}
	feed(11e8, 16e8, 12<<10)
	if f.Class != fq.ClassBulk {
		t.Errorf("half a second of calm makes it %v", f.Class)
	}
	feed(16e8, 30e8, 12<<10)
	if f.Class != fq.ClassLatency {
		t.Errorf("a second of calm leaves it %v", f.Class)
	}
}
