package mux

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/carrier"
	"github.com/mpsocks/mpsocks/mux/engine"
	"github.com/mpsocks/mpsocks/mux/mptcp"
)

// A keeping is a carrier that keeps what it is given.
type keeping struct {
	carrier.Carrier
	records [][]byte
}

func (r *keeping) Write(p []byte) (int, error) {
	r.records = append(r.records, bytes.Clone(p))
	return len(p), nil
}

func (r *keeping) WriteOver(p []byte) (int, error) {
	if cap(p) > len(p) {
		p[:len(p)+1][len(p)] = 0xAA
	}
	return r.Write(p)
}

func (r *keeping) Flush() (bool, error) { return false, nil }

// A packet that fills a record is written from where it is, when nobody else can be using
// the room before it, and others are copied into records: the peer reads the same frames,
// and the packets stay as they are.
func TestFramesFillRecords(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	s := newSession(sessionConfig{client: true, handler: newCollector()})
	s.unsummed.Store(true)
	k := &keeping{}
	f := &subflow{s: s, carrier: k, most: engine.RecordSize, ssn: 1}
	var packets [][]byte
	for i, n := range []int{16000, 40, 1200, 16356, 9000, 8000, 16356, 300} {
		b := buf.Get(n)
		defer b.Release()
		for j := range b.Bytes() {
			b.Bytes()[j] = byte(random.Uint32())
		}
		if n == 9000 {
			b.Prepend(buf.Headroom - 10) // there is no room for the head
		}
		packets = append(packets, bytes.Clone(b.Bytes()))
		f.batch = append(f.batch, engine.Outgoing{P: b, DSN: uint64(100 + i), First: i != 6})
	}
	if blocked, err := f.write((&mptcp.DSS{HasAck: true, Ack8: true, Ack: 7}).Append(nil)); blocked || err != nil {
		t.Fatal(blocked, err)
	}
	ssn, got := uint32(1), 0
	var o mptcp.Option
	for _, r := range k.records {
		if len(r) > engine.RecordSize {
			t.Errorf("a record of %d bytes", len(r))
		}
		for len(r) > 0 {
			n, err := o.Parse(r, false)
			if err != nil {
				t.Fatal(err)
			}
			if !o.DSS.HasMap {
				r = r[n:]
				continue
			}
			end := n + o.DSS.PayloadLen()
			if o.DSS.DSN != uint64(100+got) || o.DSS.SSN != ssn || !bytes.Equal(r[n:end], packets[got]) {
				t.Fatalf("mapping %d: DSN %d, SSN %d, %d bytes", got, o.DSS.DSN, o.DSS.SSN, end-n)
			}
			ssn += uint32(end - n)
			got++
			r = r[end:]
		}
	}
	if got != len(packets) {
		t.Errorf("%d of %d packets", got, len(packets))
	}
	for i := range f.batch {
		if !bytes.Equal(f.batch[i].P.Bytes(), packets[i]) {
			t.Errorf("packet %d has changed", i)
		}
	}
}
