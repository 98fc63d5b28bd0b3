package cli

import (
	"context"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/rs/zerolog"
)

// What a half tells the service manager (systemd's sd_notify; nothing where there is
// none).
const (
	managerReady     = daemon.SdNotifyReady
	managerReloading = daemon.SdNotifyReloading
	managerStopping  = daemon.SdNotifyStopping
)

// managerPatience asks the manager to wait so long for the end, beyond what its own
// configuration says.
func managerPatience(d time.Duration) string {
	return fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", d.Microseconds())
}

// handed are the listening sockets that the service manager has bound for us (systemd's
// .socket units): connections wait there while the program is started anew.
func handed(log zerolog.Logger) []net.Listener {
	all, err := activation.Listeners()
	if err != nil {
		log.Warn().Err(err).Msg("the service manager's sockets are not taken")
	}
	return slices.DeleteFunc(all, func(l net.Listener) bool { return l == nil })
}

// tellManager tells a state. That nobody listens is no error.
func (h *half) tellManager(state string) {
	if state == managerReloading {
		state += "\n" + daemon.SdNotifyMonotonicUsec()
	}
	if _, err := daemon.SdNotify(false, state); err != nil {
		h.log.Debug().Err(err).Msg("the service manager was not told")
	}
}

// watchdog tells the manager that the half is alive, as often as the manager asks, until
// ctx ends. A snapshot takes the locks that everything needs: a half that hangs on one
// says nothing, and is started anew.
func (h *half) watchdog(ctx context.Context) {
	every, err := daemon.SdWatchdogEnabled(false)
	if err != nil || every <= 0 {
		return
	}
	tick := time.NewTicker(every / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			h.end.Status()
			h.tellManager(daemon.SdNotifyWatchdog)
		}
	}
}
