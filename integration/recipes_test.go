package integration

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every page of docs/recipes ends with who runs it: the tests of integration, by name, each
// of which mentions the page; or why nobody does. README lists each page.
func TestRecipesAreRun(t *testing.T) {
	house := root(t)
	pages, err := filepath.Glob(filepath.Join(house, "docs/recipes/*.md"))
	if err != nil || len(pages) < 2 {
		t.Fatal(pages, err)
	}
	index, err := os.ReadFile(filepath.Join(house, "docs/recipes/README.md"))
	if err != nil {
		t.Fatal(err)
	}
	sources := map[string]string{} // of each test, its whole file
	for _, file := range goFiles(t, filepath.Join(house, "integration")) {
		if !strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(house, "integration", file))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllStringSubmatch(string(text), -1) {
			sources[m[1]] += string(text)
		}
	}
	for _, page := range pages {
		name := filepath.Base(page)
		if name == "README.md" {
			continue
		}
		if !strings.Contains(string(index), "("+name+")") {
			t.Errorf("docs/recipes/README.md does not list %s", name)
		}
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(string(text), "\n---\n")
		last := strings.Join(strings.Fields(parts[len(parts)-1]), " ")
		tests, run := strings.CutPrefix(last, "Run by `make interop`: ")
		tests, _, _ = strings.Cut(tests, ".")
		switch {
		case run:
			for test := range strings.SplitSeq(tests, ", ") {
				if source, there := sources[test]; !there {
					t.Errorf("%s: there is no %s in integration", name, test)
				} else if !strings.Contains(source, name) {
					t.Errorf("%s: the file of %s does not mention it", name, test)
				}
			}
		case !strings.HasPrefix(last, "Not run by a test: "):
			t.Errorf("docs/recipes/%s does not end with ---, and \"Run by `make interop`: TestA, TestB.\" or \"Not run by a test: why.\"", name)
		}
	}
}
