package cli

import (
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mpsocks/mpsocks/mux/fq"
)

// completes has a shell complete, beside commands and flags, what a flag's value or an argument
// may be, and offer no files where none is meant.
func completes(root *cobra.Command) {
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	files := func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return nil, cobra.ShellCompDirectiveDefault
	}
	var each func(cmd *cobra.Command)
	each = func(cmd *cobra.Command) {
		flags := cmd.LocalFlags()
		flags.VisitAll(func(f *pflag.Flag) {
			switch f.Name {
			case "config":
				_ = cobra.MarkFlagFilename(flags, f.Name, "yaml", "yml", "toml", "json")
			case "dir":
				_ = cobra.MarkFlagDirname(flags, f.Name)
			case "out", "capture", "record", "socket":
				_ = cmd.RegisterFlagCompletionFunc(f.Name, files)
			case "class":
				_ = cmd.RegisterFlagCompletionFunc(f.Name, cobra.FixedCompletions(fq.ClassNames(), cobra.ShellCompDirectiveNoFileComp))
			}
		})
		for _, sub := range cmd.Commands() {
			each(sub)
		}
	}
	each(root)
}

// clientNames completes the name of a client that a command may change.
func clientNames(open func() (*roll, error)) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) (names []cobra.Completion, _ cobra.ShellCompDirective) {
		if r, err := open(); err == nil && len(args) == 0 {
			for _, c := range r.list() {
				if c.File != r.file {
					names = append(names, c.Name)
				}
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
