package integration

import (
	"io/fs"
	"os"
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
}

func readHouse(t *testing.T) *house {
	t.Helper()
	h := &house{dir: root(t), tests: make(map[string][]string), docs: make(map[string]string)}
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
