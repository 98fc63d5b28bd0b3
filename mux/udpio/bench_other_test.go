//go:build !linux || mpsocks_portable

package udpio

import "time"

var benchStart = time.Now()

// processTime has no portable source; wall time stands in for it.
func processTime() time.Duration { return time.Since(benchStart) }
