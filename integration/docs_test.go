package integration

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	testFunc    = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w+)\(`)
	testNamed   = regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z]\w+`)
	testCommand = regexp.MustCompile("go test [^`\n]*")
	testPattern = regexp.MustCompile(`-(?:run|fuzz) '?([^'\s` + "`" + `]+)'?`)
	packageDir  = regexp.MustCompile(`\./([\w/]+)`)
	link        = regexp.MustCompile(`\]\(([^)#\s]+)(?:#[^)]*)?\)`)
	makeCommand = regexp.MustCompile("`make ([a-z][a-z-]*)")
	makeTarget  = regexp.MustCompile(`(?m)^([a-z][a-z-]*):`)
	goFile      = regexp.MustCompile(`\b(?:[a-z_0-9]+/)*[a-z][a-z_0-9]*\.go\b`)
)

// house is the module's files by their names from its root.
type house struct {
	dir   string
	tests map[string][]string // names of tests by directory
	docs  map[string]string   // *.md and doc.go, with what they say
	names map[string]bool     // of all files of Go, without their directories
}

func readHouse(t *testing.T) *house {
	t.Helper()
	h := &house{dir: root(t), tests: make(map[string][]string), docs: make(map[string]string), names: make(map[string]bool)}
	err := filepath.WalkDir(h.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(h.dir, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if base := d.Name(); name != "." && (strings.HasPrefix(base, ".") || base == "build" || base == "testdata") {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(name) == ".go" {
			h.names[d.Name()] = true
		}
		isTest, isDoc := strings.HasSuffix(name, "_test.go"), filepath.Ext(name) == ".md" || d.Name() == "doc.go"
		if !isTest && !isDoc {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if isDoc {
			h.docs[filepath.ToSlash(name)] = string(text)
			return nil
		}
		dir := filepath.ToSlash(filepath.Dir(name))
		for _, m := range testFunc.FindAllStringSubmatch(string(text), -1) {
			h.tests[dir] = append(h.tests[dir], m[1])
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// has says whether there is such a file, seen from a document or from the root.
func (h *house) has(doc, name string) bool {
	for _, at := range []string{filepath.Dir(doc), "."} {
		if _, err := os.Stat(filepath.Join(h.dir, at, filepath.FromSlash(name))); err == nil {
			return true
		}
	}
	return false
}

// TestDocsNameWhatIsThere: the tests, commands, links and files that the documents name are
// there.
func TestDocsNameWhatIsThere(t *testing.T) {
	h := readHouse(t)
	var all []string
	for _, names := range h.tests {
		all = append(all, names...)
	}
	makefile, err := os.ReadFile(filepath.Join(h.dir, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	var targets []string
	for _, m := range makeTarget.FindAllStringSubmatch(string(makefile), -1) {
		targets = append(targets, m[1])
	}
	for doc, text := range h.docs {
		if filepath.Ext(doc) == ".go" {
			for _, name := range goFile.FindAllString(text, -1) {
				if !h.has(doc, name) {
					t.Errorf("%s: there is no %s", doc, name)
				}
			}
			continue
		}
		for _, name := range goFile.FindAllString(text, -1) {
			if strings.Contains(name, "/") && !h.has(doc, name) || !h.names[filepath.Base(name)] {
				t.Errorf("%s: there is no %s", doc, name)
			}
		}
		for _, command := range testCommand.FindAllString(text, -1) {
			h.checkCommand(t, doc, strings.ReplaceAll(command, `\|`, "|"))
		}
		for _, name := range testNamed.FindAllString(testCommand.ReplaceAllString(text, ""), -1) {
			if !slices.Contains(all, name) {
				t.Errorf("%s: there is no %s", doc, name)
			}
		}
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if !strings.Contains(m[1], "://") && !h.has(doc, m[1]) {
				t.Errorf("%s links to %s, which is not there", doc, m[1])
			}
		}
		for _, m := range makeCommand.FindAllStringSubmatch(text, -1) {
			if !slices.Contains(targets, m[1]) {
				t.Errorf("%s: there is no make %s", doc, m[1])
			}
		}
	}
}

var (
	shownBy    = regexp.MustCompile("go test |\\b(?:Test|Fuzz)[A-Z]\\w+|\\bmodes? `|HOSTILE=")
	namedMode  = regexp.MustCompile("modes? `([a-z]+)`(?:, `([a-z]+)`)*|HOSTILE=\"-only ([a-z]+)")
	attackMode = regexp.MustCompile(`\{name: "([a-z]+)"`)
)

// TestEachThreatIsShown: each row of docs/security.md about a threat names a test or a mode of
// the hostile program, the modes are there, and each of them is in a row.
func TestEachThreatIsShown(t *testing.T) {
	h := readHouse(t)
	text := h.docs["docs/security.md"]
	attacks, err := os.ReadFile(filepath.Join(h.dir, "integration", "hostile", "attacks.go"))
	if err != nil {
		t.Fatal(err)
	}
	modes := []string{"server"} // where the hostile one is the server
	for _, m := range attackMode.FindAllStringSubmatch(string(attacks), -1) {
		modes = append(modes, m[1])
	}
	rows, wanted := 0, false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			wanted = false
			continue
		}
		cells := strings.Split(strings.ReplaceAll(strings.Trim(line, "|"), `\|`, " "), "|")
		last := strings.TrimSpace(cells[len(cells)-1])
		switch {
		case last == "test" || last == "shown by":
			wanted = true
		case !wanted || strings.HasPrefix(last, "---"):
		default:
			rows++
			if !shownBy.MatchString(last) {
				t.Errorf("nothing shows %s", line)
			}
		}
	}
	if rows < 90 {
		t.Errorf("only %d rows were found", rows)
	}
	var named []string
	for _, m := range namedMode.FindAllString(text, -1) {
		for _, word := range regexp.MustCompile("`([a-z]+)`|-only ([a-z]+)").FindAllStringSubmatch(m, -1) {
			named = append(named, word[1]+word[2])
		}
	}
	for _, n := range named {
		if !slices.Contains(modes, n) {
			t.Errorf("there is no mode %s", n)
		}
	}
	for _, m := range modes {
		if !slices.Contains(named, m) {
			t.Errorf("no row names the mode %s", m)
		}
	}
}

// checkCommand holds that a go test finds a test for each of its patterns.
func (h *house) checkCommand(t *testing.T, doc, command string) {
	t.Helper()
	var names []string
	for _, m := range packageDir.FindAllStringSubmatch(command, -1) {
		found := false
		for dir, tests := range h.tests {
			if dir == m[1] || strings.Contains(command, "./"+m[1]+"/...") && strings.HasPrefix(dir, m[1]+"/") {
				names, found = append(names, tests...), true
			}
		}
		if !found {
			t.Errorf("%s: %s: there are no tests in %s", doc, command, m[1])
		}
	}
	for _, m := range testPattern.FindAllStringSubmatch(command, -1) {
		for alternative := range strings.SplitSeq(m[1], "|") {
			pattern, err := regexp.Compile(alternative)
			if err != nil {
				t.Errorf("%s: %s: %v", doc, command, err)
				continue
			}
			if !slices.ContainsFunc(names, pattern.MatchString) {
				t.Errorf("%s: %s: no test matches %s", doc, command, alternative)
			}
		}
	}
}

// TestAttacksAreThere: the modes of make hostile that docs/security.md names are there, and
// each is named.
func TestAttacksAreThere(t *testing.T) {
	dir := root(t)
	source, err := os.ReadFile(filepath.Join(dir, "integration/hostile/attacks.go"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "docs/security.md"))
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{"server": true} // is not an attack on one
	for _, m := range regexp.MustCompile("modes? ((?:`[a-z]+`(?:, )?)+)|-only ([a-z]+)").FindAllStringSubmatch(string(text), -1) {
		for name := range strings.FieldsFuncSeq(m[1]+m[2], func(r rune) bool { return r < 'a' || r > 'z' }) {
			named[name] = true
		}
	}
	all := regexp.MustCompile(`(?m)^\t\{name: "([a-z]+)"`).FindAllStringSubmatch(string(source), -1)
	if len(all) < 15 {
		t.Fatalf("%d modes", len(all))
	}
	for _, m := range all {
		if !named[m[1]] {
			t.Errorf("docs/security.md does not have mode %s", m[1])
		}
		delete(named, m[1])
	}
	delete(named, "server")
	for name := range named {
		t.Errorf("docs/security.md names mode %s, which is not there", name)
	}
}

// TestContributingHasEveryTarget: who wants to build or test finds each target there.
func TestContributingHasEveryTarget(t *testing.T) {
	dir := root(t)
	text, err := os.ReadFile(filepath.Join(dir, "CONTRIBUTING.md"))
	if err != nil {
		t.Fatal(err)
	}
	makefile, err := os.ReadFile(filepath.Join(dir, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^\.PHONY: (.*)$`).FindStringSubmatch(string(makefile))
	if m == nil {
		t.Fatal("the Makefile has no .PHONY")
	}
	for target := range strings.FieldsSeq(m[1]) {
		if !regexp.MustCompile("`make " + target + "[ `]").Match(text) {
			t.Errorf("CONTRIBUTING.md does not have make %s", target)
		}
	}
}

// TestArchitectureHasEveryRoom: the table of rooms in docs/architecture.md is whole.
func TestArchitectureHasEveryRoom(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root(t), "docs/architecture.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "\n## Rooms, and who may know whom\n")
	table, _, _ = strings.Cut(table, "\n## ")
	seen := make(map[string]bool)
	for _, s := range sources(t) {
		dir := path.Dir(s.name)
		if seen[dir] || dir == "." || strings.HasPrefix(dir, "integration/") || slices.Contains(forTests, dir) {
			continue
		}
		seen[dir] = true
		if !strings.Contains(table, "`"+dir+"`") && !strings.Contains(table, "`"+path.Base(dir)+"`") {
			t.Errorf("docs/architecture.md has no room %s", dir)
		}
	}
	if len(seen) < 20 {
		t.Errorf("only %d rooms were found", len(seen))
	}
}

var (
	required   = regexp.MustCompile(`(?m)^\t(\S+) v\S+$`) // not the indirect ones
	majorOf    = regexp.MustCompile(`/v[0-9]+$`)
	inlineCode = regexp.MustCompile("`([^`]+)`")
)

// TestDependenciesAreExplained: docs/security.md says of each module that go.mod asks for why
// it is there; those that it calls the tests' are nobody else's.
func TestDependenciesAreExplained(t *testing.T) {
	dir := root(t)
	mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile(filepath.Join(dir, "docs/security.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(doc), "\n## Dependencies\n")
	table, _, _ = strings.Cut(table, "\n## ")
	why := make(map[string]string)
	for line := range strings.Lines(table) {
		if cells := strings.Split(line, "|"); len(cells) == 4 {
			for _, m := range inlineCode.FindAllStringSubmatch(cells[1], -1) {
				why[m[1]] = cells[2]
			}
		}
	}
	asked := required.FindAllStringSubmatch(string(mod), -1)
	if len(asked) < 20 || len(why) < 20 {
		t.Fatalf("%d modules and %d explanations", len(asked), len(why))
	}
	all := sources(t)
	for _, m := range asked {
		name := strings.TrimPrefix(majorOf.ReplaceAllString(m[1], ""), "github.com/")
		reason, ok := why[name]
		if delete(why, name); !ok {
			t.Errorf("docs/security.md does not say why %s is there", name)
		}
		if !strings.Contains(reason, "tests and the laboratory only") {
			continue
		}
		for _, s := range all {
			if strings.HasPrefix(s.name, "integration/") {
				continue
			}
			for _, i := range s.file.Imports {
				if imported := strings.Trim(i.Path.Value, `"`); imported == m[1] || strings.HasPrefix(imported, m[1]+"/") {
					t.Errorf("%s imports %s, which docs/security.md calls the tests'", s.name, imported)
				}
			}
		}
	}
	for name := range why {
		t.Errorf("docs/security.md explains %s, which is not asked for", name)
	}
}
