package server

import (
	"fmt"

	"github.com/mpsocks/mpsocks/conf"
)

// Apply has the server go by another configuration, which is valid, as conf.Load
// leaves it: with an error nothing has changed. The conf package says by its `reload`
// tags which settings change; relay.bind does not. Sessions of clients that are gone
// end at once, and no others. Any goroutine may call it, one at a time.
func (s *Server) Apply(cfg *conf.Server) error {
	tunnel, err := tunnelConfig(cfg, s.log, nil)
	if err != nil {
		return fmt.Errorf("server: %w", err)
	}
	// First what can fail.
	if s.listener != nil {
		if err := s.listener.Change(tunnel); err != nil {
			return fmt.Errorf("server: %w", err)
		}
	}
	s.publishing.allow(cfg.Clients)
	s.rules.govern(cfg)
	s.hold(int64(cfg.Limits.Memory))
	s.outlet.relay.Store(newRelay(&cfg.Relay))
	s.mappings.max.Store(int64(cfg.Limits.Mappings))
	s.streams.max.Store(int64(cfg.Limits.Streams))
	s.roll.apply(cfg)
	return nil
}

// hold has the server go by limits.memory.
func (s *Server) hold(set int64) {
	limit := memoryLimit(set)
	s.exits.share.Store(kernelShare(limit))
	machine, _ := machineMemory()
	s.heap.mind(limit, machine)
}
