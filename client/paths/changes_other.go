//go:build !linux && !darwin && !windows

package paths

import (
	"context"
	"time"

	"github.com/mpsocks/mpsocks/mux/lull"
)

// linkPoll is how often interfaces are looked at where the system is not asked
// to tell: a path is back within a few seconds, and looking costs little.
const linkPoll = 3 * time.Second

// watchLinks pokes events every so often until ctx ends.
func watchLinks(ctx context.Context, events chan<- struct{}) error {
	for ctx.Err() == nil {
		lull.Pause(ctx, linkPoll)
		poke(events)
	}
	return nil
}
