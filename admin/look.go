package admin

import (
	"time"

	"github.com/mpsocks/mpsocks/status"
)

// A look is the counters of one moment, which with those of another are rates.
type look struct {
	at                     time.Time
	paths, programs, peers counters
}

// counters are what was sent and received, in bytes, by name.
type counters map[string][2]uint64

func newLook(now time.Time) *look {
	return &look{at: now, paths: make(counters), programs: make(counters), peers: make(counters)}
}

// rate notes the counters of a status, and fills in its rates since an earlier look, and
// which share of the traffic each path has.
func (l *look) rate(s *status.Status, sessions []status.Session, before *look) {
	passed := l.at.Sub(before.at)
	total := 0.0
	for i := range sessions {
		for j := range sessions[i].Paths {
			p := &sessions[i].Paths[j]
			p.UpBPS, p.DownBPS = l.paths.rates(pathKey(&sessions[i], p), p.Sent, p.Received, before.paths, passed)
			total += float64(p.UpBPS + p.DownBPS)
		}
	}
	for i := range sessions {
		for j := range sessions[i].Paths {
			if p := &sessions[i].Paths[j]; total > 0 {
				p.Share = float64(p.UpBPS+p.DownBPS) / total
			}
		}
	}
	for i := range s.Programs {
		p := &s.Programs[i]
		p.BPS, p.RecvBPS = l.programs.rates(p.Session+" "+p.Key, p.Bytes, p.Received, before.programs, passed)
	}
	for i := range s.Clients {
		c := &s.Clients[i]
		c.SentBPS, c.RecvBPS = l.peers.rates(c.Name, c.Sent, c.Received, before.peers, passed)
	}
}

// rates notes two counters, and returns what they say in bits a second of the time that has
// passed since the earlier ones; 0 where there are none, or where a counter has begun anew.
func (c counters) rates(name string, sent, received uint64, before counters, passed time.Duration) (up, down int64) {
	c[name] = [2]uint64{sent, received}
	old, known := before[name]
	bps := func(n, old uint64) int64 {
		if !known || n < old || passed <= 0 {
			return 0
		}
		return int64(float64(n-old) * 8 / passed.Seconds())
	}
	return bps(sent, old[0]), bps(received, old[1])
}
