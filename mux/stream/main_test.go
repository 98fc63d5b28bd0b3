package stream

import (
	"testing"

	"go.uber.org/goleak"
)

// No test leaves a goroutine behind, and so none of the package's own outlives
// what started it.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
