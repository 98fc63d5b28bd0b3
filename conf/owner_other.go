//go:build !unix

package conf

import "io/fs"

// owners: the system's modes say nothing about who can read a file.
func owners(fs.FileInfo) (owner, group int, known bool) { return 0, 0, false }

func inGroup(int) bool { return true }
