package paths

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux"
	"github.com/mpsocks/mpsocks/status"
)

// diary is a Watch whose lines can be read, in a time of its own.
type diary struct {
	Watch
	out   strings.Builder
	now   time.Time
	moved time.Duration     // how long it took until flows had moved, just now
	ago   time.Duration     // since the errors
	state map[string]string // up, stalled (: and an error), gone, absent; or the error of dialling
}

// newDiary has paths that are about to be made.
func newDiary(names ...string) *diary {
	d := &diary{now: time.Now(), state: map[string]string{}}
	d.log = zerolog.New(&d.out)
	for _, n := range names {
		d.paths = append(d.paths, conf.Path{Name: n, Bind: "if-" + n})
	}
	return d
}

// pass lets time pass, looking as often as run does.
func (d *diary) pass(t time.Duration) {
	for end := d.now.Add(t); d.now.Before(end); d.now = d.now.Add(watchTick) {
		var reports []mux.PathReport
		for _, p := range d.paths {
			r := mux.PathReport{Path: mux.Path{Name: p.Name}, Moved: d.moved, ErrorAgo: d.ago}
			s := d.state[p.Name]
			if silent, err, ok := strings.Cut(s, ": "); ok && silent == "stalled" {
				s, r.Error = silent, err
			}
			switch s {
			case "absent":
				continue
			case "up":
				r.Subflows, r.Moving = 2, 2
			case "stalled":
				r.Subflows, r.Dark = 2, true
			default:
				r.Error = s
			}
			reports = append(reports, r)
		}
		d.look(reports, d.now)
	}
}

// lines are the messages since the last call.
func (d *diary) lines() []string {
	var out []string
	for l := range strings.Lines(d.out.String()) {
		_, l, _ = strings.Cut(l, `"message":"`)
		out = append(out, strings.TrimSuffix(strings.TrimSpace(l), `"}`))
	}
	d.out.Reset()
	return out
}

func (d *diary) want(t *testing.T, want ...string) {
	t.Helper()
	if got := d.lines(); !slices.Equal(got, want) {
		t.Errorf("said\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// What the log says of paths: nothing at a start that succeeds, one line for a death with
// its cause and who takes over, one for a return, and nothing of a path that only twitches.
func TestPathEvents(t *testing.T) {
	d := newDiary("wifi", "dsl")
	d.state["wifi"], d.state["dsl"] = "absent", "absent" // as long as nobody has looked
	d.pass(watchTick)
	d.state["wifi"], d.state["dsl"] = "", ""
	d.pass(time.Second)
	d.state["wifi"], d.state["dsl"] = "up", "up"
	d.pass(10 * time.Second)
	d.want(t)
	d.state["wifi"], d.moved = "stalled", 17*time.Millisecond
	d.pass(2 * time.Second)
	d.want(t, "path wifi died: no answer; dsl took over, flows moved in 17 ms")
	d.moved = 0
	d.state["wifi"] = "up" // it twitches
	d.pass(800 * time.Millisecond)
	d.state["wifi"] = "dial tcp 192.0.2.1:7443: i/o timeout"
	d.pass(20 * time.Second)
	d.want(t)
	d.state["wifi"] = "up"
	d.pass(2 * time.Second)
	d.want(t, "path wifi is back after 22 s, having died again and again")
	d.pass(time.Minute)
	d.state["wifi"] = "absent"
	d.pass(2 * time.Second)
	d.want(t, "path wifi is not usable: there is no if-wifi, or it has no address; dsl took over")
}

// A path that works with some of its subflows says so, once the others have failed for a while,
// and is no less up for it; nobody says it in the log.
func TestPathWithFewSubflows(t *testing.T) {
	d := newDiary("dsl")
	d.state["dsl"] = "up"
	d.pass(5 * time.Second)
	see := func(subflows int, err string, ago time.Duration) string {
		r := mux.PathReport{Path: mux.Path{Name: "dsl", Subflows: 6}, Subflows: subflows, Moving: subflows, Error: err, ErrorAgo: ago}
		d.look([]mux.PathReport{r}, d.now)
		k := d.known["dsl"]
		return (&status.Path{State: k.state, Cause: k.cause}).Words(d.now)
	}
	const refused = "dial tcp 192.0.2.1:7443: connect: connection refused"
	if got := see(3, refused, time.Second); got != "up" {
		t.Errorf("in the beginning: %s", got)
	}
	d.pass(20 * time.Second)
	for _, c := range []struct {
		subflows int
		err      string
		ago      time.Duration
		want     string
	}{
		{3, refused, 20 * time.Second, "up: 3 of 6 connections: no more get through"},
		{3, refused, 2 * time.Minute, "up"},
		{1, "reset by peer: limits.subflows_per_session is reached", time.Second, "up: 1 of 6 connections: the server has no room for this client: its limits.subflows_per_session is reached"},
		{6, "", 0, "up"},
	} {
		if got := see(c.subflows, c.err, c.ago); got != c.want {
			t.Errorf("%d subflows, %q: %s, want %s", c.subflows, c.err, got, c.want)
		}
	}
	d.want(t)
}

// What helps where nobody answers by one path, or somebody refuses, does not begin with the server where another one
// reaches it.
func TestPathWithoutAnswer(t *testing.T) {
	const late = "dial tcp 203.0.113.5:7443: i/o timeout"
	if c := diagnose(late, nil); c.Says != Unanswered || !strings.Contains(c.Remedy, "does the server run") {
		t.Errorf("alone: %+v", c)
	}
	if c := diagnose(late, []string{"dsl"}); c.Says != Unanswered || !strings.Contains(c.Remedy, "the server answers by dsl") {
		t.Errorf("beside another: %+v", c)
	}
	const refused = "dial tcp 203.0.113.5:7443: connect: connection refused"
	if c := diagnose(refused, nil); c != status.Diagnose(refused) {
		t.Errorf("refused: %+v", c)
	}
	if c := diagnose(refused, []string{"dsl"}); !strings.Contains(c.Says, "203.0.113.5:7443 refuses connections") || !strings.HasPrefix(c.Remedy, "the server answers by dsl") {
		t.Errorf("refused beside another: %+v", c)
	}
	const unknown = "server: it is not mpsocks"
	if c := diagnose(unknown, []string{"dsl"}); c != status.Diagnose(unknown) {
		t.Errorf("another matter: %+v", c)
	}
}

// A path whose connections freeze again and again, while new ones get through, is up and says so.
func TestPathThatFreezes(t *testing.T) {
	d := newDiary("dsl")
	for n, want := range map[int]string{0: "up", mostFrozen - 1: "up", mostFrozen: "up: its connections freeze, 3 times within 2 min, and new ones get through"} {
		d.look([]mux.PathReport{{Path: mux.Path{Name: "dsl", Subflows: 2}, Subflows: 2, Moving: 2, Frozen: n}}, d.now)
		k := d.known["dsl"]
		if got := (&status.Path{State: k.state, Cause: k.cause}).Words(d.now); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

// A server that ends takes all paths along, not quite at once, and they come back one by
// one: one line each.
func TestPathsTogether(t *testing.T) {
	d := newDiary("a", "b", "c")
	for n := range strings.SplitSeq("a b c", " ") {
		d.state[n] = "up"
	}
	d.pass(5 * time.Second)
	for n := range strings.SplitSeq("a b c", " ") {
		d.state[n] = "dial tcp 192.0.2.1:7443: connect: connection refused"
		d.pass(watchTick)
	}
	d.pass(10 * time.Second)
	d.want(t, "paths a, b and c died: 192.0.2.1:7443 refuses connections: does it run, at this port?; no path is left, and programs wait")
	for n := range strings.SplitSeq("c b a", " ") {
		d.state[n] = "up"
		d.pass(watchTick)
	}
	d.pass(5 * time.Second)
	d.want(t, "paths a, b and c are back after 11 s")
}

// A server, or who stands before it, that takes connections and says nothing is said so with
// the death of the paths, in one line, and in status; an error from before the death is not
// its cause.
func TestServerThatTakesConnections(t *testing.T) {
	d := newDiary("dsl", "lte")
	d.state["dsl"], d.state["lte"] = "up", "up"
	d.pass(10 * time.Second)
	d.ago = time.Minute
	d.state["dsl"], d.state["lte"] = "stalled: limit", "stalled"
	d.pass(600 * time.Millisecond)
	d.want(t)
	if k := d.known["dsl"]; k.state != status.Dead || k.cause != Unanswered || k.remedy != "" {
		t.Errorf("status has %s, %q, %q", k.state, k.cause, k.remedy)
	}
	d.ago = 100 * time.Millisecond
	d.state["dsl"] = "stalled: 192.0.2.1:7443 takes connections and does not answer"
	d.pass(200 * time.Millisecond)
	d.state["lte"] = d.state["dsl"]
	d.pass(time.Second)
	if text := d.out.String(); !strings.Contains(text, "load balancer") {
		t.Errorf("no remedy: %s", text)
	}
	d.want(t, "paths dsl and lte died: 192.0.2.1:7443 takes connections and does not answer; no path is left, and programs wait")
	if k := d.known["lte"]; k.state != status.Dead || !strings.Contains(k.cause, "takes connections") || k.remedy == "" {
		t.Errorf("status has %s, %q, %q", k.state, k.cause, k.remedy)
	}
	d.pass(40 * time.Second)
	d.want(t)
}

// A path that is not there at the start was said to be so then: its coming is said.
func TestPathThatComes(t *testing.T) {
	d := newDiary("dsl", "lte")
	d.state["dsl"], d.state["lte"] = "up", "absent"
	d.pass(10 * time.Second)
	d.want(t)
	d.state["lte"] = "up"
	d.pass(3 * time.Second)
	d.want(t, "path lte works now")
}

// A path that cannot work from the start is said once, with the cause that the system
// knows, what was tried, and what to do.
func TestPathThatNeverWorked(t *testing.T) {
	d := newDiary("dsl", "lte")
	asked := 0
	d.hinders = func(p conf.Path) status.Cause {
		asked++
		return status.Cause{Says: "no route to the server on " + p.Bind, Remedy: "give it one"}
	}
	d.state["dsl"], d.state["lte"] = "up", "dial tcp 192.0.2.1:7443: i/o timeout"
	d.pass(20 * time.Second)
	text := d.out.String()
	d.want(t, "path lte does not work: no route to the server on if-lte; dsl carries all")
	for _, want := range []string{`"tried":"dial tcp 192.0.2.1:7443: i/o timeout"`, `"remedy":"give it one"`} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is not in %s", want, text)
		}
	}
	if asked == 0 || asked > 11 {
		t.Errorf("the system was asked %d times in 20 s", asked)
	}
	if k := d.known["lte"]; k.state != status.Dead || k.cause != "no route to the server on if-lte" {
		t.Errorf("status has %s, %q", k.state, k.cause)
	}
	d.state["lte"] = "up"
	d.pass(3 * time.Second)
	d.want(t, "path lte works now")
}

// Nothing that paths do fills the log: paths that come and go are said four times in 40 s
// at most, and in the end what is said is how it is.
func TestPathsThatFlap(t *testing.T) {
	for _, every := range []time.Duration{time.Second, 2 * time.Second, 3 * time.Second, 7 * time.Second} {
		d := newDiary("a", "b", "c")
		for n := range strings.SplitSeq("a b c", " ") {
			d.state[n] = "up"
		}
		d.pass(time.Second)
		var count []int
		for i := range 200 {
			p := string("abc"[i%3])
			if d.state[p] == "up" {
				d.state[p] = fmt.Sprintf("error number %d", i%5)
			} else {
				d.state[p] = "up"
			}
			d.pass(every)
			count = append(count, len(d.lines()))
		}
		window := int(40 * time.Second / every)
		for i := window; i <= len(count); i++ {
			n := 0
			for _, c := range count[i-window : i] {
				n += c
			}
			if n > 4 {
				t.Fatalf("every %s: %d lines in 40 s", every, n)
			}
		}
		d.state["a"], d.state["b"], d.state["c"] = "up", "up", "up"
		d.pass(3 * time.Minute)
		for n, k := range d.known {
			if k.said {
				t.Errorf("every %s: the last that was said of %s is its death", every, n)
			}
		}
	}
}

// What the system knows of a path that nobody answers on.
func TestObstacle(t *testing.T) {
	four, six := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	for _, tt := range []struct {
		own, servers []netip.Addr
		routed       bool
		want         string
	}{
		{[]netip.Addr{four}, []netip.Addr{four}, true, ""},
		{[]netip.Addr{four}, []netip.Addr{four}, false, "no route to the server on w2"},
		{[]netip.Addr{four, six}, []netip.Addr{six}, false, "no route to the server on w2"},
		{[]netip.Addr{six}, []netip.Addr{four}, true, "w2 has no IPv4 address"},
		{[]netip.Addr{four}, []netip.Addr{six}, true, "w2 has no IPv6 address"},
		{nil, []netip.Addr{four}, false, "w2 has no address"},
	} {
		got := obstacle("w2", tt.own, tt.servers, func(netip.Addr) bool { return tt.routed })
		if !strings.Contains(got.Says, tt.want) || (got.Says == "") != (tt.want == "") || (got.Remedy == "") != (tt.want == "") {
			t.Errorf("%v to %v: %+v, want %q", tt.own, tt.servers, got, tt.want)
		}
	}
}

// A path that the first look finds absent, because the tunnel was not told of it yet, and
// that then does not work, is said as any other.
func TestPathThatComesAndDoesNotWork(t *testing.T) {
	d := newDiary("dsl", "lte")
	d.state["dsl"], d.state["lte"] = "absent", "absent"
	d.pass(watchTick)
	d.state["dsl"], d.state["lte"] = "dial tcp 192.0.2.1:7443: connect: connection refused", "dial tcp 192.0.2.1:7443: connect: connection refused"
	d.pass(10 * time.Second)
	d.want(t, "paths dsl and lte do not work: 192.0.2.1:7443 refuses connections: does it run, at this port?; no path is left, and programs wait")
}

// Whoever asks for the status looks beside run: what the one that began later has seen stands, and
// is not said to be over by the other, whose question to the system took its time.
func TestLooksBesideEachOther(t *testing.T) {
	d := newDiary("dsl")
	d.state["dsl"] = "up"
	d.pass(10 * time.Second)
	report := func(err string) []mux.PathReport {
		r := mux.PathReport{Path: mux.Path{Name: "dsl"}, Error: err}
		if err == "" {
			r.Subflows, r.Moving = 2, 2
		}
		return []mux.PathReport{r}
	}
	var beside sync.WaitGroup
	asked := false
	d.hinders = func(conf.Path) status.Cause {
		if !asked {
			asked = true
			beside.Go(func() { d.look(report(""), d.now.Add(time.Second)) })
			beside.Wait()
		}
		return status.Cause{Says: "it has no address"}
	}
	d.look(report("dial tcp 192.0.2.1:7443: connect: connection refused"), d.now)
	if k := d.known["dsl"]; !asked || k.state != status.Up {
		t.Errorf("asked: %v; the path is %s, %s", asked, k.state, k.cause)
	}
	d.want(t)

	// And none gets in the other's way.
	d.hinders = func(conf.Path) status.Cause { return status.Cause{Says: "it has no address"} }
	for range 2 {
		beside.Go(func() {
			for i := range 50 {
				d.look(report("dial tcp 192.0.2.1:7443: connect: connection refused"), d.now.Add(time.Duration(i)*askPause))
			}
		})
	}
	beside.Wait()
}

// The last path stays also when another configuration takes the others away: a path that was
// paused by hand is used again then, for none at all would mean the default route.
func TestPausedPathIsTheLast(t *testing.T) {
	w := NewWatch([]conf.Path{{Name: "dsl"}, {Name: "lte"}}, 0, zerolog.Nop())
	if err := w.Pause("lte", true); err != nil {
		t.Fatal(err)
	}
	w.Configure([]conf.Path{{Name: "lte"}})
	if all := w.wanted(); len(all) != 1 || all[0].Name != "lte" {
		t.Errorf("the tunnel is told of %v", all)
	}
	if w.overrides["lte"].paused {
		t.Error("it is said to be paused")
	}
	w.Configure([]conf.Path{{Name: "dsl"}, {Name: "lte"}})
	if all := w.wanted(); len(all) != 2 {
		t.Errorf("the tunnel is told of %v", all)
	}
}

// A path that is bound to an address which the machine has no more is told so, and what stays.
func TestAbsence(t *testing.T) {
	for bind, want := range map[string]string{
		"192.168.1.2": "no interface has the address 192.168.1.2",
		"2001:db8::2": "no interface has the address 2001:db8::2",
		"eth1":        "there is no eth1, or it has no address",
		"":            "the tunnel does not use it",
	} {
		got := absence(conf.Path{Bind: bind})
		_, err := netip.ParseAddr(bind)
		if got.Says != want || (got.Remedy != "") != (err == nil) {
			t.Errorf("bound to %q: %+v", bind, got)
		}
	}
}
