//go:build !windows

package cli

import "context"

// underManager runs a half: service managers start it like anybody.
func underManager(ctx context.Context, _ string, run func(ctx context.Context) error) error {
	return run(ctx)
}
