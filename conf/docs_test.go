package conf

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

var (
	dotted  = regexp.MustCompile("`([a-z_]+(?:\\[\\d*\\])?(?:\\.[a-z_]+(?:\\[\\d*\\])?)+)`")
	indexed = regexp.MustCompile(`\[\d+\]`)
	block   = regexp.MustCompile("(?ms)^```([^\n]*)\n(.*?)^```")
)

// notSettings begin as a setting does, and are names of files.
var notSettings = []string{".yaml", ".key", ".token", ".d"}

// documents returns the texts of README and docs by their names.
func documents(t *testing.T) map[string]string {
	t.Helper()
	texts := make(map[string]string)
	for _, pattern := range []string{"../README.md", "../docs/*.md", "../docs/recipes/*.md"} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatal(pattern, err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			texts[name] = string(text)
		}
	}
	return texts
}

// TestDocumentsNameSettings: a setting that a document names is one of a half's.
func TestDocumentsNameSettings(t *testing.T) {
	known := append(settings(reflect.TypeFor[Client](), "", true), settings(reflect.TypeFor[Server](), "", true)...)
	first := func(path string) string {
		return strings.TrimSuffix(strings.SplitN(path, ".", 2)[0], "[]")
	}
	found := 0
	for doc, text := range documents(t) {
		for _, m := range dotted.FindAllStringSubmatch(text, -1) {
			named := indexed.ReplaceAllString(m[1], "[]")
			isSetting := slices.ContainsFunc(known, func(k setting) bool { return first(k.path) == first(named) })
			if !isSetting || slices.ContainsFunc(notSettings, func(end string) bool { return strings.HasSuffix(named, end) }) {
				continue
			}
			if found++; !slices.ContainsFunc(known, func(k setting) bool { return k.path == named }) {
				t.Errorf("%s names %s, which is no setting", doc, m[1])
			}
		}
	}
	if found < 50 {
		t.Errorf("only %d settings were found", found)
	}
}

// TestDocumentsHaveWholeExamples: a piece of a configuration in a document has settings of
// one half alone, none of which is unknown there.
func TestDocumentsHaveWholeExamples(t *testing.T) {
	found := 0
	for doc, text := range documents(t) {
		for _, m := range block.FindAllStringSubmatch(text, -1) {
			halves := []reflect.Type{reflect.TypeFor[Client](), reflect.TypeFor[Server]()}
			switch m[1] {
			case "yaml":
			case "yaml client.yaml":
				halves = halves[:1]
			case "yaml server.yaml":
				halves = halves[1:]
			default: // somebody else's
				continue
			}
			var raw map[string]any
			if err := yaml.Unmarshal([]byte(m[2]), &raw); err != nil {
				t.Errorf("%s: %v in\n%s", doc, err, m[2])
				continue
			}
			found++
			var unknown []string
			if !slices.ContainsFunc(halves, func(half reflect.Type) bool {
				unknown = unknownKeys(raw, half, "")
				return len(unknown) == 0
			}) {
				t.Errorf("%s: unknown %s in\n%s", doc, strings.Join(unknown, ", "), m[2])
			}
		}
	}
	if found < 10 {
		t.Errorf("only %d examples were found", found)
	}
}
