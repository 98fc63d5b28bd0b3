package engine

import (
	"encoding/json"
	"strings"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/fq"
	"github.com/mpsocks/mpsocks/mux/mptcp"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// recordHead is how much of a packet a record has: the headers, and by how many bytes of
// what follows a flow's kind is recognised. The rest is nobody's business.
const recordHead = 72

// A recorder writes what an engine is told and what it answers, a line of JSON each, so
// that the session can be run again: see Replay. What is told within a call follows the
// call's own line, and its answer comes last.
type recorder struct {
	write   func(line []byte)
	sources map[*Source]int
	streams map[fq.Puller]*recordedStream
	subs    int
	paths   int
}

// An entry is one call of the engine, or an answer: "=". Subflows, paths, sources and
// streams are numbered from 1.
type entry struct {
	Op     string      `json:"op"`
	Now    int64       `json:"now,omitempty"`
	Sub    int         `json:"sub,omitempty"`
	Path   int         `json:"path,omitempty"`
	N      []int64     `json:"n,omitempty"` // what the call or the answer has of numbers
	On     []bool      `json:"on,omitempty"`
	Text   string      `json:"text,omitempty"`
	Bytes  []byte      `json:"bytes,omitempty"`
	Rules  []Rule      `json:"rules,omitempty"`
	Config *PathConfig `json:"config,omitempty"`
	Key    *packet.Key `json:"key,omitempty"`
	Report *Report     `json:"report,omitempty"`
	Tune   []tuned     `json:"tune,omitempty"`
}

// A tuned is a Tuning in a record.
type tuned struct {
	Sub   int
	What  Knob
	Bytes int
	Rate  float64
	Name  string
}

// Record has write called with each line of the record of an engine that New has just
// made with these arguments. The line ends in a newline and belongs to write.
func Record(e *Engine, write func(line []byte)) {
	e.rec = &recorder{write: write, sources: make(map[*Source]int), streams: make(map[fq.Puller]*recordedStream)}
	e.rec.note(entry{Op: "new", On: []bool{e.table.client}, N: []int64{int64(e.table.mode), e.timeout}, Rules: e.table.rules})
}

func (r *recorder) note(l entry) {
	b, err := json.Marshal(l)
	if err != nil {
		panic(err) // no field can fail
	}
	r.write(append(b, '\n'))
}

// answer notes what a call returns.
func (r *recorder) answer(n ...int64) { r.note(entry{Op: "=", N: n}) }

// number is a subflow's; 0 is none.
func number(f *Subflow) int64 {
	if f == nil {
		return 0
	}
	return int64(f.id)
}

// source is the number of a source.
func (r *recorder) source(src *Source) int64 {
	if src == nil {
		return 0
	}
	n, known := r.sources[src]
	if !known {
		n = len(r.sources) + 1
		r.sources[src] = n
	}
	return int64(n)
}

func (r *recorder) send(src *Source, p *buf.Buffer, now int64) {
	b := p.Bytes()
	l := entry{Op: "send", Now: now, N: []int64{r.source(src), int64(len(b)), int64(p.Held())}, Bytes: b[:min(len(b), recordHead)]}
	if src != nil {
		l.Text = src.User
	}
	r.note(l)
}

func (r *recorder) wish(at packet.End, w *fq.Wish, now int64) {
	r.note(entry{
		Op: "wish", Now: now, N: []int64{int64(at.Proto), int64(at.Host), int64(at.Port), int64(w.Class), int64(w.IDs)},
		On: []bool{w.Asked, w.Paths != nil}, Text: strings.Join(w.Paths, "\n"),
	})
}

// A recordedStream notes what is pulled of a stream.
type recordedStream struct {
	fq.Puller
	rec *recorder
	id  int64
}

// stream stands in for a stream; it is the same one for the same stream.
func (r *recorder) stream(st fq.Puller) *recordedStream {
	s := r.streams[st]
	if s == nil {
		s = &recordedStream{st, r, int64(len(r.streams) + 1)}
		r.streams[st] = s
	}
	return s
}

func (s *recordedStream) Next(most int) *buf.Buffer {
	p := s.Puller.Next(most)
	l := entry{Op: "pull", N: []int64{s.id, int64(most)}}
	if p != nil {
		b := p.Bytes()
		l.N, l.Bytes = append(l.N, int64(len(b)), int64(p.Held())), b[:min(len(b), recordHead)]
	}
	s.rec.note(l)
	return p
}

func (s *recordedStream) Ended() bool {
	is := s.Puller.Ended()
	s.rec.note(entry{Op: "over", N: []int64{s.id}, On: []bool{is}})
	return is
}

func (s *recordedStream) Window() int {
	n := s.Puller.Window()
	s.rec.note(entry{Op: "window", N: []int64{s.id, int64(n)}})
	return n
}

func (r *recorder) attach(f *Subflow, produced uint64) {
	r.subs++
	f.id, f.rec = r.subs, r
	r.note(entry{
		Op: "attach", Now: f.born, Sub: f.id, Path: f.path.id, N: []int64{int64(f.epoch), int64(produced), f.heard, int64(f.came)},
		On: []bool{f.backup}, Bytes: f.control,
	})
}

func (r *recorder) addPath(p *Path, addrID int) {
	r.paths++
	p.id, p.rec = r.paths, r
	c := p.cfg
	r.note(entry{Op: "path", Path: p.id, N: []int64{int64(addrID)}, Config: &c})
}

func (r *recorder) asks(all []Ask) {
	l := entry{Op: "="}
	for _, a := range all {
		l.N, l.On = append(l.N, number(a.Sub)), append(l.On, a.Full)
	}
	r.note(l)
}

func (r *recorder) batch(all []Outgoing, control []byte) {
	l := entry{Op: "=", Bytes: control}
	for _, o := range all {
		l.N, l.On = append(l.N, int64(o.DSN), int64(o.P.Len())), append(l.On, o.First)
	}
	r.note(l)
}

func (r *recorder) orders(o *Orders) {
	l := entry{Op: "=", N: []int64{number(o.Ack), o.Hold, o.Next}, On: []bool{o.Busy, o.Expired}}
	for _, f := range o.Replace {
		l.N = append(l.N, number(f))
	}
	for _, t := range o.Tune {
		l.Tune = append(l.Tune, tuned{t.Sub.id, t.What, t.Bytes, t.Rate, t.Name})
	}
	for _, s := range o.Said {
		l.Text += s.What + "\n"
	}
	r.note(l)
}

func (r *recorder) probe(f *Subflow, x *mptcp.Experimental, now int64) {
	r.note(entry{Op: "probe", Now: now, Sub: f.id, N: []int64{int64(x.Type)}, Bytes: x.Payload()})
}
