package admin

import "io/fs"

// trusted says whether a file of a state directory was put there by who may: here the
// directory is the user's own.
func trusted(string, fs.FileInfo) bool { return true }
