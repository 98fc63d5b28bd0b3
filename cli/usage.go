package cli

import (
	"errors"
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
	if len(args) > 0 && args[0] == "help" { // of what follows
		args = args[1:]
	}
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

// flagError says in plain words what is wrong with a flag, and which one was probably meant.
func flagError(cmd *cobra.Command, err error) error {
	help := "see " + cmd.CommandPath() + " --help"
	if missing, ok := errors.AsType[*pflag.ValueRequiredError](err); ok {
		return fmt.Errorf("%s needs a value behind it: %s", flagText(missing.GetSpecifiedName(), missing.GetSpecifiedShortnames()), help)
	}
	if wrong, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		cause := wrong.Unwrap().Error() // in the words of who reads the value, or of the language's library
		if expected, ok := flagValues[wrong.GetFlag().Value.Type()]; ok {
			cause = fmt.Sprintf("%q is %s", wrong.GetValue(), expected)
		}
		return fmt.Errorf("--%s: %s: %s", wrong.GetFlag().Name, cause, help)
	}
	if wrong, ok := errors.AsType[*pflag.InvalidSyntaxError](err); ok {
		return fmt.Errorf("%q is no flag: %s", wrong.GetSpecifiedFlag(), help)
	}
	unknown, ok := errors.AsType[*pflag.NotExistError](err)
	if !ok {
		return err
	}
	name, short := unknown.GetSpecifiedName(), unknown.GetSpecifiedShortnames()
	err = fmt.Errorf("unknown flag: %s", flagText(name, short))
	if short != "" {
		return fmt.Errorf("%w: %s", err, help)
	}
	var known []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
	if near := conf.Nearest(name, known); near != "" {
		return fmt.Errorf("%w: did you mean --%s? %s", err, near, help)
	}
	if key, variable := conf.Setting(name); key != "" {
		return fmt.Errorf("%w: it is a setting, %s in the file or %s in the environment", err, key, variable)
	}
	return fmt.Errorf("%w: %s", err, help)
}

// flagValues say what a value is not that a flag of that type does not take.
var flagValues = map[string]string{
	"int":      "no whole number",
	"duration": "no duration, such as 500ms or 8s",
	"bool":     "neither true nor false",
}

// flagText is a flag as it was written, short if it stood among short ones.
func flagText(name, shorts string) string {
	if shorts != "" {
		return "-" + name
	}
	return "--" + name
}
