package fq

import (
	"fmt"
	"strings"
)

// Class says what a flow needs from the paths.
type Class uint8

// The classes. A flow's class is the band of the queue in which it waits, too.
const (
	ClassLatency Class = iota // small flows: games, voice, DNS; best subflows, copies while there is room
	ClassBulk                 // fills all paths, in order within each
	ClassOrdered              // fills all paths, the receiver restores order (QUIC)
	ClassMetered              // as bulk, and may use metered paths
	ClassBackup               // only what all others leave
	classStream               // bulk of streams, which put themselves in order
	ClassChosen               // band of flows that may use some paths only, of any class: one that has none holds up no other
	Classes
)

// When a class is served.
type Turn uint8

const (
	TurnFirst Turn = iota // before all others
	TurnLarge             // side by side with the others of this turn
	TurnLast              // when none of these waits for anything
	TurnOwn               // apart: whenever its own paths have room
)

// How the packets of one flow are Spread.
type Spread uint8

const (
	SpreadSmall    Spread = iota // each goes where it arrives first
	SpreadTogether               // by one subflow of each path, leaving out paths that cost more than they bring
	SpreadFreely                 // over all bulk subflows; the receiver restores the order
)

// A Kind is what is decided of a class: all of it, in one row.
type Kind struct {
	Name    string // in the configuration and in status; "" = not to be chosen
	Turn    Turn
	Spread  Spread
	Metered bool // may use metered paths
}

var kinds = [Classes]Kind{
	ClassLatency: {Name: "latency", Turn: TurnFirst, Spread: SpreadSmall},
	ClassBulk:    {Name: "bulk", Turn: TurnLarge, Spread: SpreadFreely},
	ClassOrdered: {Name: "ordered", Turn: TurnLarge, Spread: SpreadTogether},
	ClassMetered: {Name: "metered", Turn: TurnLarge, Spread: SpreadFreely, Metered: true},
	ClassBackup:  {Name: "backup", Turn: TurnLast, Spread: SpreadFreely},
	classStream:  {Turn: TurnLarge, Spread: SpreadFreely},
	ClassChosen:  {Turn: TurnOwn},
}

// Kind returns the row of the class.
func (c Class) Kind() *Kind { return &kinds[c] }

func (c Class) String() string { return kinds[c].Name }

// ClassNames lists the names of the classes.
func ClassNames() (names []string) {
	for i := range kinds {
		if n := kinds[i].Name; n != "" {
			names = append(names, n)
		}
	}
	return names
}

// ParseClass returns the class of that name.
func ParseClass(name string) (Class, error) {
	for i := range kinds {
		if kinds[i].Name == name && name != "" {
			return Class(i), nil
		}
	}
	return 0, fmt.Errorf("class %q is none of %s", name, strings.Join(ClassNames(), ", "))
}

// A BandSet is a bit set of classes.
type BandSet uint8

// LargeBands are served side by side, BackupBands when these have nothing.
var LargeBands, BackupBands = atTurn(TurnLarge), atTurn(TurnLast)

func atTurn(t Turn) (set BandSet) {
	for i := range kinds {
		if kinds[i].Turn == t {
			set |= 1 << i
		}
	}
	return set
}
