package mux

import (
	"github.com/mpsocks/mpsocks/mux/capture"
	"github.com/mpsocks/mpsocks/mux/engine"
	"github.com/mpsocks/mpsocks/mux/fq"
)

// Class says what a flow needs from the paths.
type Class = fq.Class

// The classes.
const (
	ClassLatency = fq.ClassLatency // small flows: games, voice, DNS; best subflows, copies while there is room
	ClassBulk    = fq.ClassBulk    // fills all paths, in order within each
	ClassOrdered = fq.ClassOrdered // fills all paths, the receiver restores order (QUIC)
	ClassMetered = fq.ClassMetered // as bulk, and may use metered paths
	ClassBackup  = fq.ClassBackup  // only what all others leave
)

// ParseClass returns the class of that name.
func ParseClass(name string) (Class, error) { return fq.ParseClass(name) }

// Mode is the policy for all flows that no rule names.
type Mode = engine.Mode

// The modes of the configuration.
const (
	ModeAuto      = engine.ModeAuto      // classes by behaviour
	ModeAggregate = engine.ModeAggregate // every flow is bulk or ordered, no copies
	ModeRedundant = engine.ModeRedundant // every packet on two paths while they have room
	ModeLatency   = engine.ModeLatency   // every packet on the subflow where it arrives first, no copies
)

// ParseMode returns the mode of that name.
func ParseMode(name string) (Mode, error) { return engine.ParseMode(name) }

// Source says whom packets are from, for rules and for the "why" of a flow. One
// association owns it; the session keeps the flow it used last in it.
type Source = engine.Source

// Rule overrides the class of the flows it matches; the first match wins. Empty fields
// match everything.
type Rule = engine.Rule

// A Capture writes what passes through the tunnel to a file for Wireshark; see package
// capture.
type Capture = capture.Capture
