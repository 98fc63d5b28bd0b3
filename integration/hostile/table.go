package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// worse is how much of the p99 without an attack there may be beside it.
const worse = 2

// A row is an attack with all of its rounds.
type row struct {
	name    string
	control bool
	rounds  []round
}

// A spread is the median of some figures, the least, and the greatest.
type spread struct{ median, least, most float64 }

// spread is that of a figure of each round.
func (r *row) spread(of func(*round) float64) spread {
	x := make([]float64, len(r.rounds))
	for i := range r.rounds {
		x[i] = of(&r.rounds[i])
	}
	if len(x) == 0 {
		return spread{}
	}
	slices.Sort(x)
	return spread{(x[(len(x)-1)/2] + x[len(x)/2]) / 2, x[0], x[len(x)-1]}
}

func (s spread) String() string { return fmt.Sprintf("%.1f (%.1f - %.1f)", s.median, s.least, s.most) }

// ms is how long the slowest of a hundred take, milliseconds.
func (m *measure) ms() float64 { return m.p99.Seconds() * 1000 }

// times is how often the one is in the other. What was not measured, because nothing came
// back, is less than any.
func times(beside, without *measure) float64 { return beside.ms() / max(without.ms(), 1e-3) }

// overAlone is how many times the p99 of the same round without an attack, and overElsewhere
// how many times that beside the attack at a server that nobody uses.
func (r *row) overAlone() spread {
	return r.spread(func(o *round) float64 { return times(&o.beside, &o.alone) })
}

func (r *row) overElsewhere() spread {
	return r.spread(func(o *round) float64 { return times(&o.beside, &o.elsewhere) })
}

// together is how many times the p99 of what came back alone that beside the attack is, of all
// rounds as one: more datagrams say it, and one bad window counts as much as its datagrams are slow.
func (r *row) together() float64 {
	pool := func(of func(*round) *measure) measure {
		var took []time.Duration
		for i := range r.rounds {
			took = append(took, of(&r.rounds[i]).took...)
		}
		return measured(len(took), took)
	}
	beside, alone := pool(func(o *round) *measure { return &o.beside }), pool(func(o *round) *measure { return &o.alone })
	return times(&beside, &alone)
}

// lost is how many datagrams of how many were lost beside the attack.
func (r *row) lost() (lost, sent int) {
	for i := range r.rounds {
		lost += r.rounds[i].beside.lost
		sent += r.rounds[i].beside.sent
	}
	return lost, sent
}

// joined is how long another client took at worst, and peak what the server held at most.
func (r *row) joined() (d time.Duration) {
	for i := range r.rounds {
		d = max(d, r.rounds[i].joined)
	}
	return d
}

func (r *row) peak() (n int64) {
	for i := range r.rounds {
		n = max(n, r.rounds[i].peak)
	}
	return n
}

// missed says that the goal is: the p99 beside the attack is over twice that alone, in the
// median of the rounds.
func (r *row) missed() bool { return r.overAlone().median > worse }

// ours says that it is missed and that this is not what attacker and load do to each other by
// sharing a machine: it is over twice that beside the attack elsewhere, too.
func (r *row) ours() bool { return r.missed() && r.overElsewhere().median > worse }

// unsure says that some rounds meet the goal and some do not, so that more of them have to tell;
// and so where it is missed for that beside the attack elsewhere.
func (r *row) unsure() bool {
	parts := func(s spread) bool { return s.least <= worse && s.most > worse }
	return parts(r.overAlone()) || r.missed() && parts(r.overElsewhere())
}

// broken are the promises that the rounds show broken: those for which the command ends with 1.
func (r *row) broken() (broken []string) {
	if lost, sent := r.lost(); lost > 0 {
		broken = append(broken, fmt.Sprintf("the honest load lost %d of %d", lost, sent))
	}
	if most := r.peak(); most > memory+memory/5 {
		broken = append(broken, fmt.Sprintf("the server had %d MiB, with limits.memory of %d MiB", most>>20, memory>>20))
	}
	if d := r.joined(); d > soon {
		broken = append(broken, fmt.Sprintf("an honest client joined after %v", d.Round(time.Millisecond)))
	}
	switch {
	case !r.ours():
	case r.control:
		broken = append(broken, "the machine is too busy to say anything of the p99: beside no attack it was over twice that without")
	default:
		broken = append(broken, fmt.Sprintf("the honest p99 was %.1f times that alone and %.1f times that beside the same attack elsewhere",
			r.overAlone().median, r.overElsewhere().median))
	}
	return broken
}

// bold marks what is over the bar.
func bold(s fmt.Stringer, over bool) string {
	if over {
		return "**" + s.String() + "**"
	}
	return s.String()
}

// table is what docs/measurements.md has of a run.
func table(rows []row) string {
	var b strings.Builder
	b.WriteString("| attack | alone | the same elsewhere | beside | over alone | over elsewhere | over alone, all rounds as one | rounds | lost | joins, ms | server, at most MiB | of a core, % |\n")
	b.WriteString("|" + strings.Repeat("---|", 12) + "\n")
	for i := range rows {
		r := &rows[i]
		lost, sent := r.lost()
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s | %.1f | %d | %d of %d | %d | %d | %.0f |\n", r.name,
			r.spread(func(o *round) float64 { return o.alone.ms() }),
			r.spread(func(o *round) float64 { return o.elsewhere.ms() }),
			r.spread(func(o *round) float64 { return o.beside.ms() }),
			bold(r.overAlone(), r.missed()), bold(r.overElsewhere(), r.overElsewhere().median > worse),
			r.together(), len(r.rounds), lost, sent, r.joined().Milliseconds(), r.peak()>>20, 100*r.spread(func(o *round) float64 { return o.busy }).median)
	}
	return b.String()
}

// verdicts says in how many rows the goal is missed, in how many of those by the server, and
// what was lost without an attack at it.
func verdicts(rows []row) string {
	var missed, ours []string
	var lost, sent, others, attacks int
	control := ""
	for i := range rows {
		r := &rows[i]
		l, s := r.lost()
		lost, sent = lost+l, sent+s
		for j := range r.rounds {
			others += r.rounds[j].alone.lost + r.rounds[j].elsewhere.lost
		}
		if r.control {
			control = fmt.Sprintf("What the measure is worth: beside no attack a round has %s times the p99 alone, and %s that elsewhere.\n", r.overAlone(), r.overElsewhere())
			continue
		}
		attacks++
		if r.missed() {
			missed = append(missed, fmt.Sprintf("`%s` %.1f", r.name, r.overAlone().median))
		}
		if r.ours() {
			ours = append(ours, fmt.Sprintf("`%s` %.1f", r.name, r.overElsewhere().median))
		}
	}
	say := func(names []string) string {
		if len(names) == 0 {
			return "none"
		}
		return strings.Join(names, ", ")
	}
	return control + fmt.Sprintf("p99 over twice that alone, the goal: %d of %d missed: %s.\nAnd over twice that beside the same attack elsewhere, so that it is the server's: %d: %s.\n"+
		"Lost beside attacks: %d of %d; in the windows without one at this server: %d.\n",
		len(missed), attacks, say(missed), len(ours), say(ours), lost, sent, others)
}
