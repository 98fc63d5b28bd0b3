package cli

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mpsocks/mpsocks/conf"
)

// What cobra says of a wrong command line, in one line and in other words.

var (
	notTogether = regexp.MustCompile(`^if any flags in the group \[.*\] are set none of the others can be; \[(.*)\] were all set$`)
	required    = regexp.MustCompile(`^required flag\(s\) "config" not set$`)
	wrongArg    = regexp.MustCompile(`^invalid argument "(.*)" for ".*"$`)
	oneIsNeeded = regexp.MustCompile(`^at least one of the flags in the group \[(.*)\] is required$`)
	wrongNumber = regexp.MustCompile(`^(accepts|requires) .*arg\(s\)`)
)

// plainly puts an error of the command line into words; others stay as they are.
func plainly(root *cobra.Command, args []string, err error) error {
	cmd, rest, notFound := root.Find(args)
	if notFound != nil {
		return unknownCommand(root, rest)
	}
	text := err.Error()
	if m := notTogether.FindStringSubmatch(text); m != nil {
		return fmt.Errorf("%s cannot be given together: see %s --help", flagNames(m[1], " and "), cmd.CommandPath())
	}
	if m := oneIsNeeded.FindStringSubmatch(text); m != nil {
		return fmt.Errorf("%s is needed: see %s --help", flagNames(m[1], " or "), cmd.CommandPath())
	}
	if m := wrongArg.FindStringSubmatch(text); m != nil && len(cmd.ValidArgs) > 0 {
		return fmt.Errorf("%s: see %s --help", conf.Misspelt(m[1], cmd.ValidArgs), cmd.CommandPath())
	}
	switch {
	case required.MatchString(text):
		return fmt.Errorf("a file is needed, as in `%s -c client.yaml`: see %[1]s --help", cmd.CommandPath())
	case wrongNumber.MatchString(text):
		return fmt.Errorf("it is used as %s: see %s --help", cmd.UseLine(), cmd.CommandPath())
	case !strings.HasPrefix(text, "unknown command "):
		return err
	case cmd.HasSubCommands():
		return unknownCommand(cmd, rest)
	}
	arg := cmd.Flags().Arg(0)
	if cmd.Flags().Lookup("config") != nil && isConfig(arg) {
		return fmt.Errorf("%q is too much: a file is named with -c, as in `%s -c %[1]s`", arg, cmd.CommandPath())
	}
	return fmt.Errorf("%q is too much: see %s --help", arg, cmd.CommandPath())
}

// isConfig says whether an argument is the name of a configuration file.
func isConfig(arg string) bool {
	return slices.Contains([]string{".yaml", ".yml", ".toml", ".json"}, strings.ToLower(filepath.Ext(arg)))
}

// flagNames are names of flags, as they are written.
func flagNames(list, joint string) string {
	names := strings.Fields(list)
	for i, n := range names {
		names[i] = "--" + n
	}
	return strings.Join(names, joint)
}

// unknownCommand says in one line what cobra would say in several.
func unknownCommand(of *cobra.Command, args []string) error {
	name := "-" // which is no flag
	if i := slices.IndexFunc(args, func(a string) bool { return a != "" && a[0] != '-' }); i >= 0 {
		name = args[i]
	}
	of.SuggestionsMinimumDistance = 2 // letters that a misspelt command may differ in
	near := of.SuggestionsFor(name)
	if len(near) == 0 {
		return fmt.Errorf("unknown command %q: see %s --help", name, of.CommandPath())
	}
	return fmt.Errorf("unknown command %q: did you mean %s? see %s --help", name, strings.Join(near, " or "), of.CommandPath())
}

// flagError adds to an unknown flag which one was probably meant.
func flagError(cmd *cobra.Command, err error) error {
	unknown, ok := strings.CutPrefix(err.Error(), "unknown flag: --")
	if !ok {
		return err
	}
	var known []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
	if near := conf.Nearest(unknown, known); near != "" {
		return fmt.Errorf("%w: did you mean --%s? see %s --help", err, near, cmd.CommandPath())
	}
	if key, variable := conf.Setting(unknown); key != "" {
		return fmt.Errorf("%w: it is a setting, %s in the file or %s in the environment", err, key, variable)
	}
	return fmt.Errorf("%w: see %s --help", err, cmd.CommandPath())
}
