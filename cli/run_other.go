//go:build !linux

package cli

import "github.com/spf13/cobra"

// systemCommands are those that only this system has: `mpsocks run` needs Linux's
// namespaces.
func systemCommands() []*cobra.Command { return nil }
