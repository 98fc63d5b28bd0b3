// Package packaging has what a system needs to run mpsocks as a service. The files are
// those of the Debian package; the binary carries the units and the user for machines
// without the package.
package packaging

import _ "embed"

// Units of systemd, with the paths of the Debian package, and the user they run as.
var (
	//go:embed systemd/mpsocks-client.service
	ClientUnit string
	//go:embed systemd/mpsocks-server.service
	ServerUnit string
	//go:embed sysusers.conf
	SysUsers string
)
