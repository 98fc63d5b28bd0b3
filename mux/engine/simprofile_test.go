package engine

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// A profile is a network of the laboratory, from the same file.
type profile struct {
	Paths      []profilePath `yaml:"paths"`
	Events     []profileEvent
	Background []struct{ Path, Direction string }

	stamps bool    // TCP has timestamps, which matters where a round trip is longer than a timeout
	best   float64 // what ideal has found for all seeds, or 0
}

type figures struct {
	RTT    *time.Duration
	Rate   *string
	Queue  *time.Duration
	Jitter *time.Duration
	Loss   *float64
	Burst  *struct{ Enter, Leave, Loss float64 }
	Bunch  *time.Duration                  // of scenes alone, as
	Police *struct{ Rate, Bucket float64 } // Mbit/s, bytes
}

type profilePath struct {
	Name     string
	figures  `yaml:",inline"`
	Up, Down figures
	Metered  bool
	Throttle *struct { // each connection: Mbit/s, until it has carried so many bytes, then the other ones
		Fast, Slow float64
		Bytes      int
		Queue      time.Duration
		All        time.Duration
	}
}

type profileEvent struct {
	At, Every time.Duration
	Path, Do  string
	figures   `yaml:",inline"`
}

func (f *figures) set(l *line) {
	if f.RTT != nil {
		l.delay = int64(*f.RTT) / 2
	}
	if f.Rate != nil {
		n, err := strconv.ParseFloat(strings.TrimSuffix(*f.Rate, "M"), 64)
		if err != nil {
			panic(err)
		}
		l.rate = n * mbit
	}
	if f.Queue != nil {
		l.queue = int64(*f.Queue)
	}
	if f.Jitter != nil {
		l.jitter = int64(*f.Jitter) / 2
	}
	if f.Loss != nil {
		l.loss = *f.Loss
	}
	if f.Burst != nil {
		l.enter, l.leave, l.lost = f.Burst.Enter, f.Burst.Leave, f.Burst.Loss
	}
	if f.Bunch != nil {
		l.bunch = int64(*f.Bunch)
	}
	if f.Police != nil {
		l.police, l.bucket = f.Police.Rate*mbit, f.Police.Bucket
	}
}

// A network is a profile with two halves at its ends, and their subflows.
type network struct {
	p           *profile
	w           *world
	a, b        *host // the client, and the server
	there, back []*line
	live        [][]*simSub // the client's ends, by path
	redials     int
	sum         float64 // of the rates, bytes a nanosecond, but for what is metered
}

// open makes it: with every other seed the hosts stumble, and with every other pair a path
// has few subflows. down says which direction's rates are added up.
func (p *profile) open(seed uint64, down bool) *network {
	w := &world{rnd: rand.New(rand.NewPCG(seed, 1))}
	n := &network{p: p, w: w, a: newHost(w, true, len(p.Paths)), b: newHost(w, false, len(p.Paths))}
	subs := profileSubs
	if seed%2 == 1 {
		n.a.stumbles(rand.New(rand.NewPCG(seed, 2)))
		n.b.stumbles(rand.New(rand.NewPCG(seed, 3)))
	}
	if seed%4 > 1 {
		subs = profileFew
	}
	n.there, n.back = make([]*line, len(p.Paths)), make([]*line, len(p.Paths))
	n.live = make([][]*simSub, len(p.Paths))
	for i := range p.Paths {
		n.there[i], n.back[i] = &line{w: w, phase: w.rnd.Float64() * 6}, &line{w: w, phase: w.rnd.Float64() * 6}
		n.reset(i)
		switch {
		case p.Paths[i].Metered:
		case down:
			n.sum += n.back[i].rate
		default:
			n.sum += n.there[i].rate
		}
		for _, h := range []*host{n.a, n.b} {
			h.paths[i] = h.e.AddPath(PathConfig{Name: p.Paths[i].Name, Metered: p.Paths[i].Metered && h == n.a}, -1)
		}
		for range subs {
			n.join(i)
		}
	}
	n.a.redial = n.redial
	return n
}

// shaken is how many bytes the handshakes of a subflow take.
const shaken = 6000

// reset gives a path its own figures.
func (n *network) reset(i int) {
	s := &n.p.Paths[i]
	for _, l := range []*line{n.there[i], n.back[i]} {
		l.queue, l.loss, l.jitter, l.enter, l.dead = 50e6, 0, 0, 0, false
		s.set(l)
	}
	s.Up.set(n.there[i])
	s.Down.set(n.back[i])
}

func (n *network) join(i int) {
	x, y := dial(n.w, n.a, n.b, i, n.there[i], n.back[i])
	x.tx.stamps, y.tx.stamps = n.p.stamps, n.p.stamps
	if t := n.p.Paths[i].Throttle; t != nil {
		s := &shaper{w: n.w, fast: t.Fast * mbit, slow: t.Slow * mbit, left: t.Bytes - shaken, all: int64(t.All), queue: int64(t.Queue), free: map[*line]int64{}}
		x.tx.shaper, y.tx.shaper = s, s
	}
	y.sub.SetBackup(n.p.Paths[i].Metered) // the client says so with MP_PRIO
	n.live[i] = append(n.live[i], x)
}

// redial has another subflow take the place of one, when its handshakes get through.
func (n *network) redial(i int, old *simSub) {
	n.w.at(n.w.now+3*(n.there[i].delay+n.back[i].delay), func() {
		switch {
		case old.gone:
		case n.there[i].dead || n.back[i].dead: // a handshake takes both
			n.w.at(n.w.now+500e6, func() { n.redial(i, old) })
		default:
			n.redials++
			old.end()
			n.join(i)
		}
	})
}

// befalls has the profile's events happen from then on, and what else it carries.
func (n *network) befalls(start int64) {
	p, w := n.p, n.w
	at := func(name string) int {
		return slices.IndexFunc(p.Paths, func(q profilePath) bool { return q.Name == name })
	}
	for _, ev := range p.Events {
		i := at(ev.Path)
		do := func() {
			switch ev.Do {
			case "black_hole", "down":
				n.there[i].dead, n.back[i].dead = true, true
			case "mute": // of one direction alone
				n.back[i].dead = true
			case "deaf":
				n.there[i].dead = true
			case "restore", "up":
				n.reset(i)
			case "set":
				ev.set(n.there[i])
				ev.set(n.back[i])
			case "renumber":
				old := n.live[i]
				n.live[i] = nil
				for _, s := range old {
					s.tx.dead, s.peer.tx.dead = true, true
					n.redial(i, s)
				}
			default:
				panic(ev.Do)
			}
		}
		for when := int64(ev.At); when < profileSpan; when += int64(ev.Every) {
			w.at(start+when, do)
			if ev.Every == 0 {
				break
			}
		}
	}
	for _, g := range p.Background {
		i := at(g.Path)
		out, in := n.there[i], n.back[i]
		if g.Direction == "down" {
			out, in = in, out
		}
		t := newTCP(w, out, in)
		t.cc, t.lowat = "cubic", 1<<20
		t.ready = func(uint64) {}
		t.writable = func() { t.write(2 << 20) }
		w.at(0, t.writable)
	}
}

// sceneOf is a profile of that text.
func sceneOf(t *testing.T, text string) *profile {
	t.Helper()
	p := new(profile)
	if err := yaml.Unmarshal([]byte(text), p); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return p
}

// only is the profile with none but one of its paths.
func (p *profile) only(i int) *profile {
	q := &profile{Paths: p.Paths[i : i+1 : i+1]}
	for _, ev := range p.Events {
		if ev.Path == p.Paths[i].Name {
			q.Events = append(q.Events, ev)
		}
	}
	return q
}
