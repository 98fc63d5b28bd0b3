package paths

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/mux/amount"
	"github.com/mpsocks/mpsocks/status"
)

const (
	// gatherTime is how long the news of one path waits for those of others: a server
	// that ends takes all of them along, not quite at once.
	gatherTime = 600 * time.Millisecond
	// aloneTime is the same where no path is left: what dialling anew meets is part of the
	// news then. It takes a moment to show, and unknownTime at most.
	aloneTime   = 1500 * time.Millisecond
	unknownTime = 3 * time.Second
	// firstTime is how long a path that has never worked may try before that is said.
	firstTime = 3 * time.Second
	// backTime is how long a path has to work again before that is said: one that only
	// twitches is not back.
	backTime = time.Second
	// tidingsTime is in what time there are tidingsMost lines about paths, and one more if
	// no path is left. What comes beyond is said when there is room, as it is then.
	tidingsTime = 40 * time.Second
	tidingsMost = 3
)

// tidings puts into the log what a person has to know of the paths: one line for a death,
// with its cause and who takes over, and one for a return; of several paths at once in one.
type tidings struct {
	log   zerolog.Logger
	lines []time.Time // that were said in tidingsTime
}

// room says whether another line may be said now.
func (t *tidings) room(now time.Time, most int) bool {
	t.lines = slices.DeleteFunc(t.lines, func(at time.Time) bool { return now.Sub(at) >= tidingsTime })
	return len(t.lines) < most
}

// say says what has become due. working are the paths that carry.
func (t *tidings) say(known map[string]*watched, working []string, now time.Time) {
	for t.deaths(known, working, now) {
	}
	t.returns(known, now)
}

// deaths says one line of paths that died of one cause, if that is due.
func (t *tidings) deaths(known map[string]*watched, working []string, now time.Time) bool {
	due := ""
	for name, k := range known {
		if !k.fails() || k.said || now.Before(k.failed.Add(k.patience(len(working) == 0))) {
			continue
		}
		if k.told && k.state == status.Absent {
			k.said = true
		} else if due == "" || name < due {
			due = name
		}
	}
	most := tidingsMost
	if len(working) == 0 {
		most++
	}
	if due == "" || !t.room(now, most) {
		return false
	}
	first := known[due]
	var names []string
	for name, k := range known {
		if k.fails() && !k.said && k.verb() == first.verb() && k.cause == first.cause {
			names = append(names, name)
			k.said, k.deaths = true, 0
		}
	}
	takes := first.handover(working)
	line := t.log.Warn().Str("path", strings.Join(names, ","))
	if first.tried != "" {
		line = line.Str("tried", first.tried)
	}
	if first.remedy != "" {
		line = line.Str("remedy", first.remedy)
	}
	line.Msgf("%s %s: %s; %s", called(names), number(names, first.verb().one, first.verb().many), first.cause, takes)
	t.lines = append(t.lines, now)
	return true
}

// returns says one line of the paths that are back, if that is due.
func (t *tidings) returns(known map[string]*watched, now time.Time) {
	var names []string
	var away time.Duration
	due, deaths, first := false, 0, true
	for name, k := range known {
		if k.worked.IsZero() || !k.said || now.Sub(k.worked) < backTime {
			continue
		}
		names = append(names, name)
		due = due || now.Sub(k.worked) >= backTime+gatherTime
		deaths = max(deaths, k.deaths)
		if k.ever {
			first, away = false, max(away, k.worked.Sub(k.died))
		}
	}
	if !due || !t.room(now, tidingsMost) {
		return
	}
	text := called(names) + number(names, " works now", " work now")
	if !first {
		text = called(names) + number(names, " is", " are") + " back after " + amount.Duration(away)
	}
	if deaths > 0 {
		text += ", having died again and again"
	}
	for _, name := range names {
		k := known[name]
		k.said, k.ever, k.deaths = false, true, 0
	}
	t.log.Info().Str("path", strings.Join(names, ",")).Msg(text)
	t.lines = append(t.lines, now)
}

// handover says who carries what a dead path did, and how long that took: from when the
// first was sent by the dead path that had to be sent again, to when all of it was.
func (k *watched) handover(working []string) string {
	switch {
	case len(working) == 0:
		return "no path is left, and programs wait"
	case !k.ever:
		return listed(working) + number(working, " carries all", " carry all")
	case k.handed <= 0:
		return listed(working) + " took over"
	}
	return fmt.Sprintf("%s took over, flows moved in %s", listed(working), amount.Millis(k.handed.Seconds()))
}

// A verb is what happened to a path, and to several.
type verb struct{ one, many string }

// verb says how the path fails.
func (k *watched) verb() verb {
	switch {
	case k.state == status.Absent:
		return verb{"is not usable", "are not usable"}
	case k.ever:
		return verb{"died", "died"}
	}
	return verb{"does not work", "do not work"}
}

// fails says that the path cannot carry anything, and not for a moment only.
func (k *watched) fails() bool { return k.state == status.Dead || k.state == status.Absent }

// patience is how long the path may fail before that is said; alone says that none works.
func (k *watched) patience(alone bool) time.Duration {
	switch {
	case !k.ever:
		return firstTime
	case alone && k.remedy == "":
		return unknownTime
	case alone:
		return aloneTime
	}
	return gatherTime
}

// called is the names as the subject of a sentence; it sorts them.
func called(names []string) string {
	slices.Sort(names)
	return number(names, "path ", "paths ") + listed(names)
}

// listed is the names as one says them: a, b and c.
func listed(names []string) string {
	if n := len(names); n > 1 {
		return strings.Join(names[:n-1], ", ") + " and " + names[n-1]
	}
	return strings.Join(names, "")
}

// number is what fits one, or several.
func number(names []string, one, many string) string {
	if len(names) == 1 {
		return one
	}
	return many
}
