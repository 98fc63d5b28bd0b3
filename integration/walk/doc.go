// Package walk goes a newcomer's way: from the Debian package on a bare root file system
// to a second device, by the commands of README.md. `make walk` runs it.
package walk
