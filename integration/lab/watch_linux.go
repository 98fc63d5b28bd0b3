package main

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"time"

	"github.com/mpsocks/mpsocks/integration/netlab"
)

// usagePoint is what each path delivered in one slice of time, in the order of the profile's paths.
type usagePoint struct {
	At   float64   `json:"at"` // seconds since the measurement began
	Up   []float64 `json:"up_mbit"`
	Down []float64 `json:"down_mbit"`
}

// usageSlot is the slice: long enough to hold packets of slow flows, short enough to see a path come back.
const usageSlot = 100 * time.Millisecond

// watched is what was seen of the network and of the processes during a measurement.
type watched struct {
	paths  []pathFigures
	cpu    cpuFigures
	usage  []usagePoint
	copied float64
	used   [2]taken // by client and server
	err    error
}

// watch reads all counters until the measurement's end, and counts paths and processors from the warm-up's end to it.
// Its goroutine sends one value and ends.
func (r *room) watch(ctx context.Context, s *subject, warmup, end time.Duration) <-chan watched {
	out := make(chan watched, 1) // room for the one value, so that nobody has to wait for it
	begin := time.Now()
	go func() {
		var w watched
		defer func() { out <- w }()
		first, err := r.figures(s)
		if err != nil {
			w.err = err
			return
		}
		last, from := first, first
		sent, copied := r.redundancy(ctx, s)
		late := make([]time.Duration, len(first.names))
		for at := usageSlot; at <= end && ctx.Err() == nil; at += usageSlot {
			pause(ctx, time.Until(begin.Add(at)))
			now, err := r.figures(s)
			if err != nil {
				w.err = err
				return
			}
			w.usage = append(w.usage, now.usage(last, (at-usageSlot).Seconds()))
			for i := range late {
				late[i] = max(late[i], now.stats[2*i].LateP99, now.stats[2*i+1].LateP99)
			}
			if at-usageSlot < warmup && at >= warmup {
				from = now
				clear(late)
			}
			last = now
		}
		w.paths, w.cpu = last.since(from)
		for i := range w.used {
			w.used[i] = taken{last.used[i].calls - from.used[i].calls, last.used[i].switches - from.used[i].switches}
		}
		for i := range w.paths {
			w.paths[i].LateP99 = late[i].Seconds() * 1e3
		}
		if sent2, copied2 := r.redundancy(ctx, s); sent2 > sent {
			w.copied = 100 * (copied2 - copied) / (sent2 - sent)
		}
	}()
	return out
}

// figures is a reading of all counters.
type figures struct {
	at                       time.Time
	names                    []string
	stats                    []netlab.LinkStats // up and down by path
	client, server, emulator time.Duration
	used                     [2]taken
}

func (r *room) figures(s *subject) (*figures, error) {
	f := &figures{at: time.Now(), emulator: r.lab.CPU()}
	f.client, f.server = s.cpu()
	for i := range f.used {
		var err error
		if f.used[i], err = s.accounts[i].read(); err != nil {
			return nil, err
		}
	}
	for _, p := range r.lab.Paths {
		up, down, err := p.Stats()
		if err != nil {
			return nil, err
		}
		f.names = append(f.names, p.Name)
		f.stats = append(f.stats, up, down)
	}
	return f, nil
}

// usage is what the paths delivered since an earlier reading.
func (f *figures) usage(b *figures, at float64) usagePoint {
	u := usagePoint{At: at}
	seconds := f.at.Sub(b.at).Seconds()
	for i := range f.names {
		mbit := func(k int) float64 { return float64(f.stats[k].DeliveredB-b.stats[k].DeliveredB) * 8 / seconds / 1e6 }
		u.Up, u.Down = append(u.Up, mbit(2*i)), append(u.Down, mbit(2*i+1))
	}
	return u
}

// since is what happened between two readings.
func (f *figures) since(b *figures) ([]pathFigures, cpuFigures) {
	var out []pathFigures
	seconds := f.at.Sub(b.at).Seconds()
	for i, name := range f.names {
		up, down, up0, down0 := f.stats[2*i], f.stats[2*i+1], b.stats[2*i], b.stats[2*i+1]
		mbit := func(n, n0 uint64) float64 { return float64(n-n0) * 8 / seconds / 1e6 }
		out = append(out, pathFigures{
			Name: name, Up: mbit(up.DeliveredB, up0.DeliveredB), Down: mbit(down.DeliveredB, down0.DeliveredB),
			Lost: up.Lost + down.Lost - up0.Lost - down0.Lost, Overflow: up.Overflow + down.Overflow - up0.Overflow - down0.Overflow,
		})
	}
	percent := func(d time.Duration) float64 { return 100 * d.Seconds() / seconds }
	return out, cpuFigures{percent(f.client - b.client), percent(f.server - b.server), percent(f.emulator - b.emulator)}
}

// redundancy asks both halves of mpsocks how many bytes they have sent, and how many of those were copies. Other
// subjects have none.
func (r *room) redundancy(ctx context.Context, s *subject) (sent, copied float64) {
	if !s.admin {
		return 0, 0
	}
	for i, n := range []*netlab.Namespace{r.lab.Client, r.lab.World} {
		addr := adminAddrs[i]
		h := http.Client{Timeout: time.Second, Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (c net.Conn, err error) {
				err = n.Do(func() (err error) {
					c, err = new(net.Dialer).DialContext(ctx, "tcp", addr)
					return err
				})
				return c, err
			},
		}}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/status", nil)
		if err != nil {
			return 0, 0
		}
		resp, err := h.Do(req)
		if err != nil {
			return 0, 0
		}
		var v any
		err = json.NewDecoder(resp.Body).Decode(&v)
		resp.Body.Close()
		if err != nil {
			return 0, 0
		}
		s, c := sessions(v)
		sent, copied = sent+s, copied+c
	}
	return sent, copied
}

// sessions adds up the counters of all sessions in a status document, wherever they are in it. What
// tells of copies alone is a sum of theirs.
func sessions(v any) (sent, copied float64) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			s, c := sessions(e)
			sent, copied = sent+s, copied+c
		}
	case map[string]any:
		s, ok := v["sent_bytes"].(float64)
		if c, both := v["copied_bytes"].(float64); ok && both {
			return s, c
		}
		for _, e := range v {
			s, c := sessions(e)
			sent, copied = sent+s, copied+c
		}
	}
	return sent, copied
}
