package cli

import (
	"context"
	"time"

	"github.com/mpsocks/mpsocks/mux"
)

// shutdownLimit is how long an end may take to leave after a signal. Both say
// goodbye in well under a second; the limit is for when one does not.
const shutdownLimit = 1900 * time.Millisecond

// openCapture begins a capture file, or none for the empty name.
func openCapture(path string) (*mux.Capture, error) {
	if path == "" {
		return nil, nil
	}
	return mux.NewCapture(path)
}

// runHalf runs a half. The capture, if any, is closed last.
func runHalf(ctx context.Context, h *half, capture *mux.Capture) error {
	err := h.run(ctx)
	if capture != nil {
		if closed := capture.Close(); err == nil {
			err = closed
		}
	}
	if err == nil {
		h.log.Info().Msg("stopped")
	}
	return err
}
