package loads

import (
	"fmt"
	"time"
)

// Direction says which way the traffic goes.
type Direction string

// The directions: there and back, client to world, world to client.
const (
	Echo Direction = "echo"
	Up   Direction = "up"
	Down Direction = "down"
)

// Datagrams describes one flow.
type Datagrams struct {
	Name      string
	Rate      float64 // datagrams per second
	Size      int     // payload bytes
	Direction Direction
	Warmup    time.Duration // of the flow's beginning, that does not count
	Duration  time.Duration // in all, warm-up included
	Begin     time.Time     // origin of the points' times; the zero value is the flow's beginning
}

// Mbit makes the rate such that so many Mbit/s of payload are offered.
func (s Datagrams) Mbit(n float64) Datagrams {
	s.Rate = n * 1e6 / 8 / float64(s.Size)
	return s
}

func (s *Datagrams) validate() error {
	if s.Size < payloadSize || s.Size > 65000 || s.Rate <= 0 || s.Duration <= 0 || s.Warmup >= s.Duration {
		return fmt.Errorf("load %s: %.0f datagrams/s of %d bytes for %v with %v of warm-up make no sense", s.Name, s.Rate, s.Size, s.Duration, s.Warmup)
	}
	if s.Rate*s.Duration.Seconds() > 50e6 {
		return fmt.Errorf("load %s: more than 50 million datagrams", s.Name)
	}
	return nil
}
