package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mpsocks/mpsocks/mux/amount"
	"github.com/mpsocks/mpsocks/status"
)

// The text of a status: what fits a terminal of 80 columns and 24 lines, the largest
// first, in the units that people use.

const (
	viewWidth  = 80
	viewHeight = 24
	// mostWarnings are shown above the tables, and lowWarnings in less than lowHeight lines.
	mostWarnings, lowWarnings = 3, 2
	lowHeight                 = 16
)

// A section is a title and its lines; the first of a table is its head.
type section struct {
	title string
	lines []string
	more  int // that did not fit
}

// view lays a status out for a screen. curve draws the rates of a path in so many columns,
// in the free place of its second line; nil draws none.
func view(s *status.Status, width, height int, now time.Time, curve func(path string, width int) string) []section {
	head := section{lines: headLines(s, width, height, now)}
	var tables []section
	if s.Half == status.Server {
		tables = append(tables, section{title: "CLIENTS", lines: clientLines(s, width)})
	} else {
		tables = append(tables, section{title: "PATHS", lines: pathLines(s, width, now, curve)})
	}
	tables = append(tables, section{title: "PROGRAMS", lines: programLines(s, width)}, section{title: "EVENTS", lines: eventLines(s, width, now)})
	// Every table has its title; what is left is shared, the first ones served best.
	left := height - len(head.lines) - len(tables)
	out := []section{head}
	for i, t := range tables {
		share := left
		for _, later := range tables[i+1:] {
			share -= min(len(later.lines), 3, left/4)
		}
		if i == 1 { // a program has two lines
			share -= share % 2
		}
		if t.title == "PATHS" && len(t.lines) > max(share, 0) {
			t.lines = brokenFirst(s, width, share, now)
		}
		if len(t.lines) > share {
			t.more = len(t.lines) - max(share, 0)
			t.lines = t.lines[:max(share, 0)]
		}
		left -= len(t.lines)
		out = append(out, t)
	}
	return out
}

func headLines(s *status.Status, width, height int, now time.Time) []string {
	up := amount.Duration(now.Sub(s.Started))
	line := fmt.Sprintf("mpsocks %s %s, running for %s", s.Half, s.Version, up)
	second := ""
	switch {
	case s.Half == status.Server:
		ups := 0
		for _, v := range s.Sessions {
			if v.Up {
				ups++
			}
		}
		second = fmt.Sprintf("%s up, %s, %s, listening on %s", count(ups, "session"), count(s.Mappings, "mapping"), count(s.Streams, "CONNECT"), strings.Join(s.Listen, ", "))
	case s.Session != nil && s.Session.Up:
		second = fmt.Sprintf("session %s with %s, mode %s; %s, %s", s.Session.ID, s.Session.Server, s.Session.Mode, count(s.Associations, "association"), count(s.Streams, "CONNECT"))
	}
	out := []string{cut(line, width)}
	if s.Ready {
		out = append(out, cut(second, width))
	} else {
		out = append(out, fold("NOT READY: "+strings.Join(s.Reasons, "; "), width, 2)...)
	}
	for _, p := range s.Published {
		if p.Problem != "" {
			out = append(out, fold(fmt.Sprintf("! %s %s does not lead to %s: %s", p.Proto, p.Listen, p.To, p.Problem), width, 2)...)
		}
	}
	most := mostWarnings
	if height < lowHeight {
		most = lowWarnings
	}
	for i, w := range s.Warnings {
		if more := len(s.Warnings) - i; i == most-1 && more > 1 {
			out = append(out, cut(fmt.Sprintf("! and %s", count(more, "more warning")), width))
			break
		}
		out = append(out, fold("! "+w, width, 2)...)
	}
	return out
}

// count is a number of things.
func count(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprint(n, " ", thing)
}

// pathLines is a line of figures for each path and one of words; where something is wrong as
// many as its cause takes, and what helps.
func pathLines(s *status.Status, width int, now time.Time, curve func(path string, width int) string) []string {
	if s.Session == nil {
		return nil
	}
	figures, head := pathFigures(s, width)
	out := []string{head}
	for i := range s.Session.Paths {
		p := &s.Session.Paths[i]
		out = append(out, figures(p))
		words, left := "  "+p.Words(now)+roleText(p), leftText(p.Usage)
		if !p.Carries() {
			out = append(out, fold(words+left, width, brokenLines)...)
			if p.Remedy != "" {
				out = append(out, fold("  "+p.Remedy, width, brokenLines)...)
			}
			continue
		}
		words = cut(cut(words, width-cells(left))+left, width) // what is left is not what is cut off
		if free := min(sparkWidth, width-cells(words)-2); curve != nil && free >= sparkLeast {
			words += strings.Repeat(" ", width-free-cells(words)) + curve(p.Name, free)
		}
		out = append(out, words)
	}
	return out
}

const (
	// brokenLines is how many lines the cause of a broken path may take, and its remedy.
	brokenLines = 3
	nameWidth   = 10 // of a path
)

// brokenFirst is the lines of all paths where there are few, that many: first those that do not
// work, with their causes, then the others' figures, or their names if few of those would be seen.
func brokenFirst(s *status.Status, width, lines int, now time.Time) []string {
	figures, head := pathFigures(s, width)
	var out, names []string
	works := []string{head}
	for i := range s.Session.Paths {
		if p := &s.Session.Paths[i]; p.Carries() {
			works, names = append(works, figures(p)), append(names, cut(p.Name, nameWidth))
		} else {
			out = append(out, fold("! "+cut(p.Name, nameWidth)+": "+p.Words(now), width, brokenLines)...)
		}
	}
	switch {
	case len(names) == 0:
		return out
	case len(out) > 0 && lines-len(out) < min(len(works), 4):
		return append(out, cut("  working: "+strings.Join(names, ", "), width))
	}
	return append(out, works...)
}

// pathFigures writes the line of figures of a path, under that head.
func pathFigures(s *status.Status, width int) (figures func(p *status.Path) string, head string) {
	months, names := 0, len("path")
	for i := range s.Session.Paths {
		p := &s.Session.Paths[i]
		months, names = max(months, cells(usageText(p.Usage))), max(names, cells(p.Name))
	}
	if width >= viewWidth {
		names = nameWidth // the columns stay where they are when a path comes
	}
	t := table{
		widths: []int{-min(names, nameWidth), 11, 11, 7, 7, 6, 6, -max(months, len("month"))},
		spare:  []int{6, 4, 5, 7}, // the share, the jitter, the loss, the month
	}
	return func(p *status.Path) string {
		return t.line(width, p.Name, amount.Rate(p.UpBPS), amount.Rate(p.DownBPS),
			amount.Millis(p.RTT), amount.Millis(p.Jitter), amount.Percent(p.Loss), amount.Percent(p.Share), usageText(p.Usage))
	}, t.line(width, "path", "up", "down", "rtt", "jitter", "loss", "share", "month")
}

func roleText(p *status.Path) string {
	switch {
	case p.State == status.Resting: // that is its cause
	case p.Backup && p.Metered:
		return " (backup, metered)"
	case p.Backup:
		return " (backup)"
	case p.Metered:
		return " (metered)"
	}
	return ""
}

// usageText is what a path has carried this month, and its cap.
func usageText(u *status.Usage) string {
	switch {
	case u == nil:
		return ""
	case u.MonthlyCap > 0:
		return amount.Bytes(u.Month) + "/" + amount.Bytes(u.MonthlyCap)
	}
	return amount.Bytes(u.Month)
}

// leftText says what the caps have left.
func leftText(u *status.Usage) string {
	left, capped := u.Left()
	if !capped {
		return ""
	}
	return fmt.Sprintf("; %s left", amount.Bytes(left))
}

// programLines is two lines for each: what it is and where it goes, and why.
func programLines(s *status.Status, width int) []string {
	who, over := 0, 0 // columns
	for i := range s.Programs {
		p := &s.Programs[i]
		who = max(who, cells(p.Who()))
		over = max(over, cells(pathsText(p)))
	}
	over = min(over, width/5)
	free := max(width-over-2-2-7-1-13-1, 20)
	who = min(who, free/2)
	to := free - who
	var out []string
	for i := range s.Programs {
		p := &s.Programs[i]
		line := pad(p.Who(), who) + "  " + pad(p.Proto+" "+p.To, to) + "  " + pad(p.Class, 7) + fmt.Sprintf(" %13s ", bothWays(p)) + pad(pathsText(p), over)
		out = append(out, cut(line, width))
		why := "  " + p.Why
		for _, more := range []struct {
			n    uint64
			what string
		}{{p.Copies, "copies"}, {p.Dropped, "dropped"}} {
			text := fmt.Sprintf("; %d %s", more.n, more.what)
			if more.n > 0 && cells(why+text) <= width { // or they are in --json
				why += text
			}
		}
		out = append(out, cut(why, width))
	}
	if len(out) == 0 {
		out = []string{"  none"}
	}
	return out
}

// pathsText is the paths that most of a program's traffic took.
func pathsText(p *status.Program) string {
	if over := p.Over(); len(over) > 0 {
		return strings.Join(over, "+")
	}
	return "idle"
}

// bothWays is the rate of the direction in which a program moves more: up is what this
// half sends.
func bothWays(p *status.Program) string {
	switch {
	case p.RecvBPS > p.BPS:
		return "↓ " + amount.Rate(p.RecvBPS)
	case p.BPS > 0:
		return "↑ " + amount.Rate(p.BPS)
	}
	return amount.Rate(0)
}

func clientLines(s *status.Status, width int) []string {
	t := table{
		widths: []int{-16, 4, 10, 10, 8, 8, -16},
		spare:  []int{5, 4, 1, 6}, // received, sent, the sessions, the quota
	}
	out := []string{t.line(width, "client", "sess", "to it", "from it", "sent", "received", "quota")}
	for _, i := range byTraffic(s.Clients) {
		c := &s.Clients[i]
		quota := ""
		if c.Quota > 0 {
			quota = fmt.Sprintf("%.0f %% of %s", 100*float64(c.Used)/float64(c.Quota), amount.Bytes(c.Quota))
		}
		out = append(out, t.line(width, c.Name, fmt.Sprint(c.Sessions), amount.Rate(c.SentBPS), amount.Rate(c.RecvBPS),
			amount.Bytes(c.Sent), amount.Bytes(c.Received), quota))
		if c.Error != "" {
			when := ""
			if !c.ErrorAt.IsZero() {
				when = c.ErrorAt.Local().Format("15:04:05 ")
			}
			out = append(out, cut("  "+when+c.Error, width))
		}
	}
	return out
}

// byTraffic has those clients first that move most now, then those that are there.
func byTraffic(all []status.Peer) []int {
	order := make([]int, len(all))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int {
		a, b := &all[i], &all[j]
		return cmp.Or(cmp.Compare(b.SentBPS+b.RecvBPS, a.SentBPS+a.RecvBPS), cmp.Compare(min(b.Sessions, 1), min(a.Sessions, 1)))
	})
	return order
}

func eventLines(s *status.Status, width int, now time.Time) []string {
	var out []string
	for _, e := range s.Events {
		mark := " "
		if e.Level != "info" {
			mark = "!"
		}
		who := ""
		if e.Who != "" {
			who = e.Who + ": "
		}
		line, lines := fmt.Sprintf("%s %s %s%s", e.Time.Local().Format("15:04:05"), mark, who, e.Text), 1
		if mark == "!" { // what went wrong is whole on a small terminal, too
			lines = brokenLines
		}
		out = append(out, fold(line, width, lines)...)
	}
	if len(out) == 0 {
		out = []string{"  none in the last hour"}
	}
	return out
}
