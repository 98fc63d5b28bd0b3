package conf

import (
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A readmeTable is README's table of one half's settings, with the words before it.
type readmeTable struct {
	text string
	rows [][]string // key, default, meaning
}

var quoted = regexp.MustCompile("`([^`]+)`")

// readmeTables reads both tables.
func readmeTables(t *testing.T) (client, server readmeTable) {
	t.Helper()
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, ok := strings.Cut(string(readme), "\n### Client\n")
	first, second, found := strings.Cut(after, "\n### Server\n")
	if !ok || !found {
		t.Fatal("README.md has no settings of Client and Server")
	}
	second, _, _ = strings.Cut(second, "\n## ")
	for table, text := range map[*readmeTable]string{&client: first, &server: second} {
		table.text = text
		for line := range strings.Lines(text) {
			cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
			if strings.HasPrefix(line, "| `") && len(cells) == 3 {
				table.rows = append(table.rows, cells)
			}
		}
		if len(table.rows) < 20 {
			t.Fatalf("%d rows", len(table.rows))
		}
	}
	return client, server
}

// TestReadmeListsEverySetting keeps the README's tables whole: each half's has its settings
// and no other's.
func TestReadmeListsEverySetting(t *testing.T) {
	client, server := readmeTables(t)
	for _, c := range []struct {
		table readmeTable
		of    reflect.Type
	}{{client, reflect.TypeFor[Client]()}, {server, reflect.TypeFor[Server]()}} {
		known := settings(c.of, "", true)
		for _, k := range known {
			section, _, _ := strings.Cut(k.path, ".") // the server's table has some that are the client's by their section
			section, _, _ = strings.Cut(section, "[")
			if !isSectionName(k.path, known) && !strings.Contains(c.table.text, "`"+k.path+"`") &&
				(c.of != reflect.TypeFor[Server]() || !strings.Contains(c.table.text, "`"+section+"`,")) {
				t.Errorf("README.md does not have %s of %v", k.path, c.of)
			}
		}
		for _, row := range c.table.rows {
			for _, key := range quoted.FindAllStringSubmatch(row[0], -1) {
				if !slices.ContainsFunc(known, func(k setting) bool { return k.path == key[1] }) {
					t.Errorf("README.md has %s, which %v does not", key[1], c.of)
				}
			}
		}
	}
}

// TestReadmeKnowsTheDefaults: a default that the tables state as a number, a time, a word or
// a truth value is what a file leaves unsaid.
func TestReadmeKnowsTheDefaults(t *testing.T) {
	client, server := readmeTables(t)
	looked := 0
	for _, c := range []struct {
		table readmeTable
		of    reflect.Value
	}{{client, reflect.ValueOf(DefaultClient()).Elem()}, {server, reflect.ValueOf(DefaultServer()).Elem()}} {
		for _, row := range c.table.rows {
			keys := quoted.FindAllStringSubmatch(row[0], -1)
			v, ok := reflect.Value{}, false
			if len(keys) == 1 {
				v, ok = valueOf(c.of, keys[0][1])
			}
			if !ok {
				continue
			}
			want := ""
			switch x := v.Interface().(type) {
			case time.Duration:
				want = shortDuration(x)
			case bool:
				want = strconv.FormatBool(x)
			default:
				if v.Kind() == reflect.String || v.Kind() == reflect.Int && v.Int() > 0 {
					want = fmt.Sprint(x)
				}
			}
			if want == "" {
				continue
			}
			said := strings.TrimSpace(row[1])
			if q := quoted.FindStringSubmatch(said); q != nil {
				said = q[1]
			}
			if looked++; said != want {
				t.Errorf("README.md says that %s is %s where nothing is said, and it is %s", keys[0][1], said, want)
			}
		}
	}
	if looked < 15 {
		t.Errorf("only %d defaults were found", looked)
	}
}

// valueOf finds a setting by its path; false for what is in a list.
func valueOf(v reflect.Value, path string) (reflect.Value, bool) {
	for name := range strings.SplitSeq(path, ".") {
		if v.Kind() != reflect.Struct {
			return v, false
		}
		at := -1
		for i := range v.NumField() {
			if v.Type().Field(i).Tag.Get("mapstructure") == name {
				at = i
			}
		}
		if at < 0 {
			return v, false
		}
		v = v.Field(at)
	}
	return v, true
}

// shortDuration is a time as people write it: 2m, and not 2m0s.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
