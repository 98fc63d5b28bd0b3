package cli

import (
	"context"
	"time"
)

// shutdownLimit is how long an end may take to leave after a signal. Both say
// goodbye in well under a second; the limit is for when one does not.
const shutdownLimit = 1900 * time.Millisecond

// runHalf runs a half. The capture is closed last.
func runHalf(ctx context.Context, h *half, capture *capturing) error {
	capture.dir = h.admin.StateDir
	h.admin.Controls.Capture, h.admin.Controls.CaptureFile = capture.turn, capture.state
	capture.Tell(func(err error) {
		h.log.Warn().Err(err).Msg("the capture ends here; all else goes on")
	})
	err := underManager(ctx, serviceName(h.end.Status().Half), h.run)
	if closed := capture.Close(); err == nil {
		err = closed
	}
	if err == nil {
		h.log.Info().Msg("stopped")
	}
	return err
}
