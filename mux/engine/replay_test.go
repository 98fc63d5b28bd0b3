package engine

import (
	"bytes"
	"errors"
	"flag"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/mpsocks/mpsocks/mux/fq"
	"github.com/mpsocks/mpsocks/mux/packet"
)

var replayed = flag.String("replay", "", "a record of `mpsocks client --record FILE` to run again")

// TestReplay runs the session of -replay again: it answers as it did, or the first line
// where it does not is said.
func TestReplay(t *testing.T) {
	if *replayed == "" {
		t.Skip("no -replay FILE")
	}
	f, err := os.Open(*replayed)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n, err := Replay(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d lines, and all answers are the same", n)
}

// recorded plays a profile with large flows, or with streams, and returns the records of
// both ends.
func recorded(t *testing.T, name string, flows int) (records [2]*bytes.Buffer) {
	t.Helper()
	onHost = func(h *host, client bool) {
		i := 0
		if client {
			i = 1
		}
		records[i] = new(bytes.Buffer)
		Record(h.e, func(line []byte) { records[i].Write(line) })
	}
	defer func() { onHost = nil }()
	profileSpan = 2e9
	defer func() { profileSpan = profileTime }()
	profiles(t)[name].play(3, flows, false)
	return records
}

// A session that is run again from its record answers to the byte as it did: with
// streams and with datagrams, on paths that die, at both ends.
func TestRecordsAreRunAgain(t *testing.T) {
	for _, c := range []struct {
		name  string
		flows int
	}{{"flap", 0}, {"flap", 4}, {"loss_2", 1}, {"renumber", 0}} {
		for i, r := range recorded(t, c.name, c.flows) {
			want := bytes.Count(r.Bytes(), []byte("\n"))
			if n, err := Replay(r); err != nil || n != want || want < 1000 {
				t.Errorf("%s, %d flows, end %d: %d of %d lines, %v", c.name, c.flows, i, n, want, err)
			}
		}
	}
}

// Another answer is found, and a record that breaks off is none; what is no record is
// said to be none.
func TestReplayTells(t *testing.T) {
	record := recorded(t, "loss_2", 1)[1].String()
	i := strings.LastIndex(record, `{"op":"take"`)
	j := i + strings.Index(record[i:], `{"op":"=","n":[`)
	changed := record[:j] + strings.Replace(record[j:], `"n":[`, `"n":[7`, 1)
	var d *Difference
	if n, err := Replay(strings.NewReader(changed)); !errors.As(err, &d) || d.Line != n+1 || n != strings.Count(record[:j], "\n") {
		t.Errorf("a changed answer: %d lines, %v", n, err)
	}
	if _, err := Replay(strings.NewReader(record[:j+5])); err != nil {
		t.Errorf("a record that breaks off: %v", err)
	}
	for _, bad := range []string{"x\n", `{"op":"tick"}` + "\n", `{"op":"new"}` + "\n", record[:strings.Index(record, "\n")+1] + `{"op":"detach","sub":3}` + "\n"} {
		if _, err := Replay(strings.NewReader(bad)); err == nil {
			t.Errorf("%q is taken for a record", bad)
		}
	}
}

// Each method of the engine is one that a record has, or one that only reads.
func TestRecordsHaveAllCalls(t *testing.T) {
	reads := []string{
		"AckBy", "AddrID", "Alive", "Backlog", "Busy", "Clear", "Committed", "Epoch", "Finishing", "HeardAt", "Idle", "KeepAlive",
		"Moved", "Moves", "Name", "Narrow", "Octets", "Path", "Paths", "Rests", "Slot", "State", "Subflows", "Throttled",
	}
	recorded := []string{
		"Acked", "AddPath", "Assign", "Attach", "Charge", "Close", "Configure", "Control", "Detach", "Doubt", "Drained", "Due",
		"Establish", "FIN", "Finish", "Glance", "Heard", "Initial", "Learn", "Next", "Probe", "RemovePath", "Rename", "Renew", "Send",
		"SetBackup", "SetCapped", "SetKeepAlive", "SetPolicy", "Take", "Tick", "Wake", "Wrote",
		"PathOf", // by AddPath
	}
	for _, v := range []any{new(Engine), new(Subflow), new(Path)} {
		typ := reflect.TypeOf(v)
		for i := range typ.NumMethod() {
			if name := typ.Method(i).Name; !slices.Contains(reads, name) && !slices.Contains(recorded, name) {
				t.Errorf("%v.%s is in no record, and not known to read only", typ, name)
			}
		}
	}
}

// What programs ask for is in the record: without it their flows would be others.
func TestRecordsHaveWishes(t *testing.T) {
	var record bytes.Buffer
	e := New(true, ModeAuto, nil, 0)
	Record(e, func(line []byte) { record.Write(line) })
	e.Establish(1)
	for _, name := range []string{"a", "b"} {
		e.Attach(NewSubflow(nil, e.AddPath(PathConfig{Name: name}, -1), e.Epoch(), 0), 0)
	}
	for i, w := range []fq.Wish{{}, {Asked: true}, {Class: fq.ClassBackup, Asked: true}, {Paths: []string{"b"}}, {Paths: []string{}}, {IDs: 2}} {
		from := netip.AddrPortFrom(packet.ClientHost4, uint16(5000+i))
		at, _ := packet.EndAt(packet.ProtoUDP, from)
		Want(e, at, w, 1)
		e.Send(&Source{User: "ann"}, testPacket(from, netip.MustParseAddrPort("203.0.113.7:443"), 0, 100), 1)
	}
	e.Assign(2)
	for f := e.Next(); f != nil; f = e.Next() {
		batch, _ := e.Take(f, nil)
		e.Wrote(f, 2, batch, 1000, false, false)
	}
	want := bytes.Count(record.Bytes(), []byte("\n"))
	if n, err := Replay(&record); err != nil || n != want || want < 20 {
		t.Errorf("%d of %d lines, %v", n, want, err)
	}
}
