package cli

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

var (
	fence       = regexp.MustCompile("(?ms)^```[^\n]*\n(.*?)^```")
	inline      = regexp.MustCompile("`(?:sudo )?mpsocks ([^`]+)`")
	shellLine   = regexp.MustCompile(`(?m)(?:^|[|;&] *|sudo )mpsocks +([a-z][^#|;&\n]*)`)
	alternative = regexp.MustCompile(`^[a-z]+(\|[a-z]+)+$`)
)

// documentedCommands returns the command lines of mpsocks that documents and messages have,
// by the file, without "mpsocks".
func documentedCommands(t *testing.T) map[string][]string {
	t.Helper()
	commands := make(map[string][]string)
	err := filepath.WalkDir("..", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			if base := d.Name(); base != ".." && (base[0] == '.' || base == "build" || base == "testdata") {
				return filepath.SkipDir
			}
			return nil
		}
		ext := filepath.Ext(name)
		if ext != ".md" && ext != ".go" && ext != ".tmpl" {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		prose := string(text)
		if ext == ".md" {
			for _, block := range fence.FindAllStringSubmatch(prose, -1) {
				for _, m := range shellLine.FindAllStringSubmatch(block[1], -1) {
					commands[name] = append(commands[name], m[1])
				}
			}
			prose = fence.ReplaceAllString(prose, "")
		}
		for _, m := range inline.FindAllStringSubmatch(prose, -1) {
			if ext == ".md" || !strings.Contains(m[1], "\n") { // in Go that is a text of several lines
				commands[name] = append(commands[name], m[1])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return commands
}

// TestDocumentedCommands: each command of mpsocks that a document, a comment or a message
// has is there, with the flags that stand with it.
func TestDocumentedCommands(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("mpsocks run is there on Linux only")
	}
	found := 0
	for file, lines := range documentedCommands(t) {
		for _, line := range lines {
			found++
			checkCommand(t, file, line)
		}
	}
	if found < 100 {
		t.Errorf("only %d commands were found", found)
	}
}

// TestPlaceholders: help shows for a flag's value the type or a word in capitals, and nothing
// for one that has none. What stands in back quotes in a flag's text is taken for that word.
func TestPlaceholders(t *testing.T) {
	capitals := regexp.MustCompile(`^[A-Z][A-Z:]*$`)
	var look func(cmd *cobra.Command)
	look = func(cmd *cobra.Command) {
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			plain := *f
			plain.Usage = ""
			own, _ := pflag.UnquoteUsage(&plain)
			if name, _ := pflag.UnquoteUsage(f); name != own && !capitals.MatchString(name) {
				t.Errorf("%s --%s shows %q for its value", cmd.CommandPath(), f.Name, name)
			}
		})
		for _, sub := range cmd.Commands() {
			look(sub)
		}
	}
	look(newRoot())
}

// checkCommand holds that a command line is one that there is.
func checkCommand(t *testing.T, file, line string) {
	t.Helper()
	words := strings.Fields(line)
	if strings.Contains(words[0], "%") {
		return // the program fills it in
	}
	var names []string // until the first flag
	for len(words) > 0 && words[0][0] != '-' {
		names, words = append(names, words[0]), words[1:]
	}
	for i, n := range names {
		if alternative.MatchString(n) { // client|server, add|list
			for one := range strings.SplitSeq(n, "|") {
				checkCommand(t, file, strings.Join(append(append(append([]string(nil), names[:i]...), one), names[i+1:]...), " "))
			}
			return
		}
	}
	root := newRoot()
	root.InitDefaultCompletionCmd() // else they are there when a command runs
	root.InitDefaultHelpCmd()
	cmd, rest, err := root.Find(names)
	if err != nil || cmd.HasSubCommands() && len(rest) > 0 {
		t.Errorf("%s: mpsocks %s: there is no such command", file, line)
		return
	}
	for _, w := range words {
		name, _, _ := strings.Cut(w, "=")
		switch {
		case w == "--": // what follows is another program's
			return
		case w[0] == '-' && len(w) > 1 && !hasFlag(cmd, strings.TrimRight(name, ",.:;)")):
			t.Errorf("%s: mpsocks %s: there is no flag %s", file, line, w)
		}
	}
}

// hasFlag says whether a command takes a flag, as it is written: -c, --config.
func hasFlag(cmd *cobra.Command, written string) bool {
	cmd.InitDefaultHelpFlag()
	flags := cmd.Flags()
	flags.AddFlagSet(cmd.InheritedFlags())
	if name, long := strings.CutPrefix(written, "--"); long {
		return flags.Lookup(name) != nil
	}
	return flags.ShorthandLookup(written[1:]) != nil
}
