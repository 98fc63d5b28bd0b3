package interop

import "github.com/mpsocks/mpsocks/integration/netlab"

// The child of a laboratory begins here, before anything else (see netlab.Main).
func init() { netlab.Main() }
