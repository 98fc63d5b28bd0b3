//go:build !unix

package gate

// Files is how many files this process may open; 0 = as many as it likes, as the system has
// no such limit.
func Files() int { return 0 }
