package conf

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

var (
	yamlTwice = regexp.MustCompile(`line (\d+): mapping key "(.*)" already defined at line (\d+)`)
	// glued is a key with its value right behind it.
	glued    = regexp.MustCompile(`(?m)^[ ]*(?:- )?([a-z_]+:)[^\s/]`)
	yamlLine = regexp.MustCompile(`line (\d+): `)
)

// tabNear is how many lines a tab may be from where the decoder has noticed it.
const tabNear = 2

// unreadable says why a file cannot be decoded, in words for who wrote it: one problem
// for each line that has one. err is the decoder's.
func unreadable(data []byte, format string, err error) (problems Errors) {
	text := err.Error()
	if twice := yamlTwice.FindAllStringSubmatch(text, -1); twice != nil {
		for _, m := range twice {
			problems.addf("", "line %s: %s is there already, in line %s: leave one of them out", m[1], shorten(m[2]), m[3])
		}
		return problems
	}
	switch at, tab := yamlLine.FindStringSubmatch(text), indentedByTab(data); {
	case bytes.IndexByte(data, 0) >= 0 || !utf8.Valid(data):
		problems.addf("", "is no text in UTF-8: have the editor save it as that")
	case format != "toml" && format != "json" && tab > 0 && at != nil && near(at[1], tab):
		problems.addf("", "line %d: is indented with a tab, and YAML takes spaces only", tab)
	case strings.Contains(text, "could not find expected ':'") && glued.Match(data):
		m := glued.FindSubmatchIndex(data)
		problems.addf("", "line %d: needs a space behind %s", 1+bytes.Count(data[:m[2]], []byte("\n")), data[m[2]:m[3]])
	case strings.Contains(text, "cannot unmarshal"):
		problems.addf("", "does not consist of %s settings, such as mode: auto", format)
	default:
		if line := lineOf(data, err); line > 0 && !strings.Contains(text, "line ") {
			text = fmt.Sprintf("line %d: %s", line, strings.TrimPrefix(text, format+": "))
		}
		problems.addf("", "cannot be read as %s: %s", format, strings.TrimPrefix(strings.ReplaceAll(text, "\n", " "), "yaml: "))
	}
	return problems
}

// lineOf is the line that a decoder's error is about, or 0.
func lineOf(data []byte, err error) int {
	if at, ok := errors.AsType[*json.SyntaxError](err); ok {
		return 1 + bytes.Count(data[:min(int(at.Offset), len(data))], []byte("\n"))
	}
	var at interface{ Position() (row, column int) } // of TOML's decoder
	if errors.As(err, &at) {
		row, _ := at.Position()
		return row
	}
	return 0
}

// secondDocument is the number of the line at which a second document of YAML begins (YAML
// 1.2, Section 9.1), or 0.
func secondDocument(data []byte) int {
	n, content := 0, false
	for line := range bytes.Lines(data) {
		n++
		line = bytes.TrimRight(line, " \t\r\n")
		switch {
		case bytes.Equal(line, []byte("---")) && content:
			return n
		case len(bytes.TrimSpace(line)) > 0 && line[0] != '#' && line[0] != '%' && !bytes.Equal(line, []byte("---")):
			content = true
		}
	}
	return 0
}

// indentedByTab is the number of the first line that begins with a tab or has one among
// the spaces that it begins with, or 0.
func indentedByTab(data []byte) int {
	n := 0
	for line := range bytes.Lines(data) {
		n++
		indent := line[:len(line)-len(bytes.TrimLeft(line, " \t"))]
		if bytes.IndexByte(indent, '\t') >= 0 && len(bytes.TrimSpace(line)) > 0 {
			return n
		}
	}
	return 0
}

func near(line string, n int) bool {
	at, err := strconv.Atoi(line)
	return err == nil && at-n <= tabNear && n-at <= tabNear
}

// blame names the environment variable in the place of the key where the value came from
// there.
func (e Errors) blame(vars map[string]string) {
	for _, f := range e {
		key, _, _ := strings.Cut(f.Field, "[")
		if _, ok := vars[strings.ToLower(key)]; ok && !f.written {
			f.Field = envName(key)
		}
	}
}
