package status

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/mpsocks/mpsocks/mux/amount"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// State is what a path is in.
type State string

// The states of a path.
const (
	Up      State = "up"
	Resting State = "resting" // works, and is not needed
	Stalled State = "stalled" // nothing comes back, for a moment
	Dead    State = "dead"
	Joining State = "joining" // its first subflow is being made
	Capped  State = "capped"
	Paused  State = "paused"
	Absent  State = "absent" // its interface is not there
)

// Words is the state with how long it is so, where that matters, and its cause.
func (p *Path) Words(now time.Time) string {
	out := string(p.State)
	switch p.State {
	case Dead, Absent, Stalled, Joining:
		if !p.Since.IsZero() {
			out += " for " + amount.Duration(now.Sub(p.Since))
		}
	}
	if p.Cause != "" {
		out += ": " + p.Cause
	}
	return out
}

// Carries says whether the path works, needed or not, or has only stopped for a moment.
func (p *Path) Carries() bool { return p.State == Up || p.State == Resting || p.State == Stalled }

// BelongsToTunnel says whether a flow is of the halves themselves, and To the server's end of
// it: news of ports, wishes and words, of which no program knows.
func (p *Program) BelongsToTunnel() bool {
	to, err := netip.ParseAddrPort(p.To)
	if err != nil || p.Proto != "udp" || to.Addr() != packet.ServerHost4 && to.Addr() != packet.ServerHost6 {
		return false
	}
	switch to.Port() {
	case packet.DiscardPort, packet.AlivePort, packet.WishPort, packet.WordPort:
		return true
	}
	return false
}

// reasons are the words of the engine as people understand them.
var reasons = map[string]string{
	"small":                  "little traffic: fastest path, copies",
	"new":                    "new: fastest path",
	"large":                  "much traffic: paths that help",
	"large stream":           "much traffic: paths that help",
	"large, looks like QUIC": "much traffic, as QUIC: in order, paths that help",
	"rule":                   "a rule says so",
	"asked":                  "mpsocks run --class says so",
	"mode latency":           "mode latency: fastest path",
	"mode aggregate":         "mode aggregate: all paths",
	"mode redundant":         "mode redundant: copies",
}

// Explain adds to Why in words what the paths say: why those that the program does
// not use are not used.
func (p *Program) Explain(paths []Path) {
	if w, ok := reasons[p.Why]; ok {
		p.Why = w
	}
	// What was sent by a path that has died since has gone by others.
	before := len(p.Paths)
	p.Paths = slices.DeleteFunc(slices.Clone(p.Paths), func(name string) bool {
		i := slices.IndexFunc(paths, func(q Path) bool { return q.Name == name })
		return i >= 0 && !paths[i].Carries()
	})
	var used *Path
	for i := range paths {
		if slices.Contains(p.Paths, paths[i].Name) {
			used = &paths[i]
			break
		}
	}
	if used == nil {
		if before > 0 {
			p.Why += "; it waits for a path"
		}
		return // or nothing was sent lately
	}
	for i := range paths {
		q := &paths[i]
		if slices.Contains(p.Paths, q.Name) {
			continue
		}
		why := "not needed"
		switch {
		case q.State != Up && q.State != Resting:
			if why = string(q.State); q.Cause != "" {
				why += ", " + q.Cause
			}
		case q.Metered:
			why = "metered"
		case q.Backup:
			why = "a backup"
		case p.Class != "bulk" && q.RTT > used.RTT && used.RTT > 0:
			why = fmt.Sprintf("slower, %s", amount.Millis(q.RTT))
		case q.Lossy:
			why = "it loses packets"
		}
		p.Why += fmt.Sprintf("; not %s: %s", q.Name, why)
	}
}

// mostReceives is how much more a program receives than it sends when what it sends is
// little beside that: acknowledgements and requests.
const mostReceives = 20

// MostlyReceives says that the class and its reason, which are of what this half sends, are
// not those of most of the traffic.
func (p *Program) MostlyReceives() bool {
	return p.RecvBPS > 1_000_000 && p.RecvBPS > mostReceives*p.BPS
}

// Over is the paths that most of the program's traffic lately took.
func (p *Program) Over() []string {
	if p.RecvBPS > p.BPS && len(p.Came) > 0 {
		return p.Came
	}
	return p.Paths
}

// TidyPrograms puts the fastest first, and of those that rest the largest, and leaves
// out what has ended.
func (s *Status) TidyPrograms() {
	s.Programs = slices.DeleteFunc(s.Programs, func(p Program) bool { return p.BPS+p.RecvBPS == 0 && p.App == "" && p.Name == "" && p.User == "" })
	slices.SortStableFunc(s.Programs, func(a, b Program) int {
		return cmp.Or(cmp.Compare(b.BPS+b.RecvBPS, a.BPS+a.RecvBPS), cmp.Compare(b.Bytes+b.Received, a.Bytes+a.Received), cmp.Compare(a.Key, b.Key))
	})
}

// Open is what everybody on the machine may know: how it does, in numbers and names of
// paths, without addresses, users, programs or destinations. /metrics has the same.
func (s *Status) Open() *Status {
	o := *s
	o.Published, o.Config = nil, ""
	o.Listen, o.Forwards, o.Events, o.Programs, o.Capture = []string{}, nil, []Event{}, []Program{}, ""
	strip := func(in Session) Session {
		in.Server, in.Subflows = "", []Subflow{}
		in.Paths = slices.Clone(in.Paths)
		for i := range in.Paths {
			in.Paths[i].Bind = ""
			if s.Half == Server {
				in.Paths[i].Name = fmt.Sprint("path", i+1)
			}
		}
		return in
	}
	if s.Session != nil {
		one := strip(*s.Session)
		o.Session = &one
	}
	o.Sessions = slices.Clone(s.Sessions)
	for i := range o.Sessions {
		o.Sessions[i] = strip(o.Sessions[i])
	}
	o.Clients = slices.Clone(s.Clients)
	for i := range o.Clients {
		o.Clients[i].Error, o.Clients[i].ErrorAt = "", time.Time{}
	}
	return &o
}

// hasEnded stands for an application that is gone; what it sent may still be under way.
const hasEnded = "(has ended)"

// Who is the best name of an application that is known.
func (p *Program) Who() string {
	switch {
	case p.Client != "" && p.Name == "":
		return p.Client
	case p.Name != "" && p.User != "" && p.User != p.Name:
		return p.Name + " (" + p.User + ")"
	case p.Name != "":
		return p.Name
	case p.User != "":
		return p.User
	}
	if p.App == "" {
		return hasEnded
	}
	return p.App
}
