package engine

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/fq"
	"github.com/mpsocks/mpsocks/mux/mptcp"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// A Difference is where a session that is run again does not answer as its record has it.
type Difference struct {
	Line      int // of the record, from 1
	Want, Got string
}

func (d *Difference) Error() string {
	return fmt.Sprintf("line %d of the record: %q, and now %q", d.Line, d.Want, d.Got)
}

// Replay runs a session again, from its record, and returns how many lines that has. The
// first answer that is not the record's, to the byte, is a *Difference. A record whose
// last line is not whole is as good as one that ends before it.
func Replay(record io.Reader) (lines int, err error) {
	p := &player{sources: make(map[int64]*Source), streams: make(map[int64]*playedStream)}
	in := bufio.NewReaderSize(record, 1<<16)
	for {
		b, err := in.ReadBytes('\n')
		if err == io.EOF {
			break
		}
		if err != nil {
			return 0, err
		}
		p.lines = append(p.lines, b)
	}
	defer func() {
		switch r := recover().(type) {
		case nil:
			return
		case *stop:
			if err = r.err; err == errShort { // the record ends within a call
				err = nil
			}
		default:
			err = fmt.Errorf("line %d of the record: no engine was called so: %v", p.at+1, r)
		}
		lines = p.at
	}()
	for p.at < len(p.lines) {
		before := p.at
		p.step()
		if p.at == before {
			return p.at, fmt.Errorf("line %d of the record: no call of the engine", p.at+1)
		}
	}
	return p.at, nil
}

// stop ends a player within a call.
type stop struct{ err error }

var errShort = errors.New("the record ends")

// A player calls an engine as a record says. The engine writes its own record meanwhile,
// which has to be the same.
type player struct {
	lines   [][]byte
	at      int // the next line
	e       *Engine
	paths   []*Path
	subs    []*Subflow
	batches [][]Outgoing // by subflow: what it is writing
	sources map[int64]*Source
	streams map[int64]*playedStream
}

// check takes a line that the engine writes.
func (p *player) check(line []byte) {
	if p.at == len(p.lines) {
		panic(&stop{errShort})
	}
	if want := p.lines[p.at]; !bytes.Equal(want, line) {
		panic(&stop{&Difference{p.at + 1, string(bytes.TrimSpace(want)), string(bytes.TrimSpace(line))}})
	}
	p.at++
}

// next is the line that comes now.
func (p *player) next() (l entry) {
	if p.at == len(p.lines) {
		panic(&stop{errShort})
	}
	if err := json.Unmarshal(p.lines[p.at], &l); err != nil {
		p.bad(err)
	}
	return l
}

func (p *player) bad(err error) { panic(&stop{fmt.Errorf("line %d of the record: %w", p.at+1, err)}) }

// call is a line that has what its call needs, by number; others end the replay.
type call struct {
	entry
	p *player
}

func (c call) n(i int) int64 {
	if i >= len(c.N) {
		c.p.bad(fmt.Errorf("%s has %d numbers", c.Op, len(c.N)))
	}
	return c.N[i]
}

func (c call) on(i int) bool {
	if i >= len(c.On) {
		c.p.bad(fmt.Errorf("%s has %d truths", c.Op, len(c.On)))
	}
	return c.On[i]
}

func (c call) path() *Path {
	if c.Path < 1 || c.Path > len(c.p.paths) {
		c.p.bad(fmt.Errorf("no path %d", c.Path))
	}
	return c.p.paths[c.Path-1]
}

func (c call) sub() *Subflow {
	if c.Sub < 1 || c.Sub > len(c.p.subs) {
		c.p.bad(fmt.Errorf("no subflow %d", c.Sub))
	}
	return c.p.subs[c.Sub-1]
}

// packet is a packet of so many bytes in a buffer of that size, of which the head is
// known.
func (c call) packet(size, held int64) *buf.Buffer {
	if size < int64(len(c.Bytes)) || size < 20 || held > buf.MaxSize+1<<10 || size > buf.MaxSize {
		c.p.bad(fmt.Errorf("a packet of %d bytes in %d", size, held))
	}
	b := buf.Get(int(max(size, min(held-buf.Headroom, buf.MaxSize))))
	b.Resize(int(size))
	clear(b.Bytes())
	copy(b.Bytes(), c.Bytes)
	return b
}

// step makes one call.
func (p *player) step() {
	c := call{p.next(), p}
	if p.e == nil {
		if c.Op != "new" {
			p.bad(errors.New("a record begins with an engine"))
		}
		p.e = New(c.on(0), Mode(c.n(0)), c.Rules, c.n(1))
		Record(p.e, p.check)
		return
	}
	e, now := p.e, c.Now
	switch c.Op {
	case "policy":
		e.SetPolicy(Mode(c.n(0)), c.Rules, c.n(1))
	case "establish":
		e.Establish(uint64(c.n(0)))
	case "renew":
		e.Renew(uint64(c.n(0)))
	case "close":
		e.Close()
	case "finish":
		e.Finish()
	case "fin":
		e.FIN()
	case "charge":
		e.Charge(int(c.n(0)))
	case "path":
		if c.Config == nil {
			p.bad(errors.New("a path without its configuration"))
		}
		p.paths = append(p.paths, e.AddPath(*c.Config, int(c.n(0))))
	case "initial":
		e.Initial(c.path())
	case "remove":
		e.RemovePath(c.path())
	case "configure":
		c.path().Configure(*c.Config)
	case "rename":
		c.path().Rename(c.Text)
	case "keep":
		c.path().SetKeepAlive(c.n(0))
	case "capped":
		c.path().SetCapped(c.on(0))
	case "doubt":
		c.sub().Doubt(e, now)
	case "send":
		src := p.sources[c.n(0)]
		if src == nil && c.n(0) != 0 {
			src = &Source{User: c.Text}
			p.sources[c.n(0)] = src
		}
		e.Send(src, c.packet(c.n(1), c.n(2)), now)
	case "wish":
		w := fq.Wish{Class: fq.Class(c.n(3)), Asked: c.on(0), IDs: uint32(c.n(4))}
		if c.on(1) {
			w.Paths = strings.Split(c.Text, "\n")
		}
		Want(e, packet.End{Proto: uint8(c.n(0)), Host: uint16(c.n(1)), Port: uint16(c.n(2))}, w, now)
	case "wake":
		st := p.streams[c.n(0)]
		if st == nil {
			st = &playedStream{p}
			p.streams[c.n(0)] = st
		}
		e.Wake(*c.Key, st, now)
	case "assign":
		e.Assign(now)
	case "glance":
		e.Glance(now, nil)
	case "due":
		e.Due(now, nil)
	case "tick":
		e.Tick(now, c.n(0), uint64(c.n(1)))
	case "next":
		e.Next()
	default:
		p.subflow(c)
	}
}

// subflow makes a call that is about a subflow.
func (p *player) subflow(c call) {
	e, now := p.e, c.Now
	switch c.Op {
	case "attach":
		f := NewSubflow(nil, c.path(), uint64(c.n(0)), now)
		f.SetBackup(c.on(0))
		f.Control(c.Bytes)
		f.Heard(c.n(2), uint64(c.n(3)))
		p.subs, p.batches = append(p.subs, f), append(p.batches, nil)
		e.Attach(f, uint64(c.n(1)))
	case "detach":
		e.Detach(c.sub(), now, uint64(c.n(0)), uint64(c.n(1)))
	case "learn":
		e.Learn(c.sub(), now, c.Report)
	case "acked":
		e.Acked(c.sub(), uint64(c.n(0)))
	case "probe":
		x := &mptcp.Experimental{Type: uint8(c.n(0))}
		x.SetPayload(c.Bytes)
		e.Probe(c.sub(), x, now)
	case "take":
		f := c.sub()
		p.batches[c.Sub-1], _ = e.Take(f, nil)
	case "wrote":
		f := c.sub()
		e.Wrote(f, now, p.batches[c.Sub-1], uint64(c.n(1)), c.on(0), c.on(1))
	case "drained":
		e.Drained(c.sub(), now, c.on(0))
	case "heard":
		c.sub().Heard(now, uint64(c.n(0)))
	case "backup":
		c.sub().SetBackup(c.on(0))
	case "control":
		c.sub().Control(c.Bytes)
	default:
		p.bad(fmt.Errorf("%q is no call", c.Op))
	}
}

// A playedStream gives what was pulled of a stream when the record was made.
type playedStream struct{ p *player }

func (s *playedStream) Next(int) *buf.Buffer {
	c := call{s.p.next(), s.p}
	if c.Op != "pull" {
		s.p.bad(errors.New("a stream is asked for more than it was"))
	}
	if len(c.N) < 4 {
		return nil
	}
	return c.packet(c.n(2), c.n(3))
}

func (s *playedStream) Window() int {
	c := call{s.p.next(), s.p}
	if c.Op != "window" {
		s.p.bad(errors.New("a stream is asked for its window, and was not"))
	}
	return int(c.n(1))
}

func (s *playedStream) Ended() bool {
	c := call{s.p.next(), s.p}
	if c.Op != "over" {
		s.p.bad(errors.New("a stream is asked whether it has ended, and was not"))
	}
	return c.on(0)
}
