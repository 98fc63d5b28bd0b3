//go:build !unix

package client

// descriptorLimit is 0: the system has no limit of note.
func descriptorLimit() int64 { return 0 }
