package main

import (
	"context"
	"sync"
	"syscall"
	"time"

	"github.com/mpsocks/mpsocks/integration/bench/halves"
	"github.com/mpsocks/mpsocks/integration/netlab"
)

// happen makes everything of the plan happen, and returns when the last of it is over.
func (s *soak) happen(ctx context.Context, events []event) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, e := range events {
		pause(ctx, time.Until(s.report.begin.Add(e.at)))
		if ctx.Err() != nil {
			return
		}
		s.alive()
		s.report.say("%v", &e)
		wg.Go(func() {
			if err := s.one(ctx, &e); err != nil {
				s.report.fault("could not do it: %s: %v", e.kind, err)
			}
		})
	}
}

// alive says when a half has ended by itself.
func (s *soak) alive() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range []*halves.Process{s.client, s.server} {
		select {
		case <-p.Done():
			s.report.fault("a half has ended by itself: %s", p.Output())
		default:
		}
	}
}

// one makes an event happen and undoes it.
func (s *soak) one(ctx context.Context, e *event) error {
	path := s.lab.Paths[e.path]
	switch e.kind {
	case silent:
		return during(ctx, e.lasts, func() error { return path.SetBlackHole(true) }, func() error { return path.SetBlackHole(false) })
	case unplug:
		return during(ctx, e.lasts, path.Down, path.Up)
	case renumber:
		return path.Renumber()
	case lossy:
		set := func(loss float64) func() error {
			return func() error { return path.Change(func(l *netlab.Link) { l.Loss = loss }) }
		}
		return during(ctx, e.lasts, set(.3), set(0))
	case oneName, noNames, badNames:
		span := s.outages.begin(e.kind)
		defer s.outages.end(span)
		s.names.set(e.kind)
		pause(ctx, e.lasts)
		s.names.set("")
		return nil
	}
	span := s.outages.begin(e.kind)
	defer s.outages.end(span)
	if err := s.nothing(ctx, e); err != nil {
		return err
	}
	s.back(ctx, e)
	return nil
}

// during does something, and undoes it after the time.
func during(ctx context.Context, d time.Duration, do, undo func() error) error {
	if err := do(); err != nil {
		return err
	}
	pause(ctx, d)
	return undo()
}

// nothing makes one of the events happen in which nothing is up.
func (s *soak) nothing(ctx context.Context, e *event) error {
	s.mu.Lock()
	client, server := s.client, s.server
	s.mu.Unlock()
	signal := func(p *halves.Process, sig syscall.Signal) func() error {
		return func() error { return syscall.Kill(p.PID(), sig) }
	}
	switch e.kind {
	case sleepC:
		return during(ctx, e.lasts, signal(client, syscall.SIGSTOP), signal(client, syscall.SIGCONT))
	case sleepS:
		return during(ctx, e.lasts, signal(server, syscall.SIGSTOP), signal(server, syscall.SIGCONT))
	case restart, leave:
		if e.kind == restart {
			server.Kill()
		} else if took, err := server.Stop(); err != nil || took > 2*time.Second {
			s.report.fault("the server took %v to end: %v", took, err)
		}
		pause(ctx, e.lasts)
		next, err := s.half(s.lab.World, "server", s.config.ServerFile)
		if err != nil {
			return err
		}
		s.mu.Lock()
		s.past, s.server = append(s.past, server), next
		s.mu.Unlock()
		return nil
	}
	// Every path is dead, some in silence.
	for i, p := range s.lab.Paths {
		do := p.Down
		if i%2 == e.path%2 {
			do = func() error { return p.SetBlackHole(true) }
		}
		if err := do(); err != nil {
			return err
		}
	}
	pause(ctx, e.lasts)
	for i, p := range s.lab.Paths {
		undo := p.Up
		if i%2 == e.path%2 {
			undo = func() error { return p.SetBlackHole(false) }
		}
		if err := undo(); err != nil {
			return err
		}
	}
	return nil
}

// back waits until datagrams come back that were sent after all causes were gone.
func (s *soak) back(ctx context.Context, e *event) {
	begin := time.Now()
	for time.Since(begin) < readyTime {
		if s.canary.lastBack.Load() > begin.UnixNano() {
			s.report.say("  back after %v", time.Since(begin).Round(10*time.Millisecond))
			return
		}
		pause(ctx, 10*time.Millisecond)
		if ctx.Err() != nil {
			return
		}
	}
	s.report.fault("nothing comes back %v after %s", readyTime, e.kind)
}
