package paths

import (
	"fmt"
	"time"

	"github.com/mpsocks/mpsocks/mux"
	"github.com/mpsocks/mpsocks/mux/amount"
	"github.com/mpsocks/mpsocks/status"
)

// crowdTime is how long a path has to work before what further subflows meet is told, and how
// long ago that may be: they are tried every half a minute at least.
const (
	crowdTime = 10 * time.Second
	crowdAgo  = 45 * time.Second
)

// crowded says what keeps a path that works from having all its subflows, if something does.
func (k *watched) crowded(r *mux.PathReport, now time.Time) status.Cause {
	if r.Error == "" || r.ErrorAgo > crowdAgo || r.Subflows >= r.Path.Subflows || k.worked.IsZero() || now.Sub(k.worked) < crowdTime {
		return status.Cause{}
	}
	says := fmt.Sprintf("%d of %d connections", r.Subflows, r.Path.Subflows)
	if c := status.Diagnose(r.Error); status.IsLimit(r.Error) {
		return status.Cause{Says: says + ": " + c.Says, Remedy: c.Remedy}
	}
	return status.Cause{
		Says:   says + ": no more get through",
		Remedy: fmt.Sprintf("something on the way may allow no more, or no more in a minute: `subflows: %d` for this path ends the attempts", r.Subflows),
	}
}

// mostFrozen is how often connections of a path may freeze within mux.FrozenTime and nobody is
// told: a radio cell that is left does that, too.
const mostFrozen = 3

// frozen is what it means that connections of a path that works have frozen so often.
func frozen(n int) status.Cause {
	return status.Cause{
		Says: fmt.Sprintf("its connections freeze, %d times within %s, and new ones get through", n, amount.Duration(mux.FrozenTime)),
		Remedy: "something on the way lets a connection carry only so much, or loses its large packets: try another port, a name that it lets pass " +
			"(`cover.server_name`, both halves), or a lower MTU of the interface",
	}
}
