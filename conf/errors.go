package conf

import (
	"fmt"
	"strings"
)

// FieldError is one problem of a configuration.
type FieldError struct {
	// File is the configuration file, or "" for a value that came from none.
	File string
	// Field is the key as the file spells it, such as paths[1].subflows, or
	// the name of an environment variable; "" concerns the file as a whole.
	Field string
	// Reason says what is wrong and, where that is short, what to write.
	Reason string

	written bool // by the file itself, whatever the environment says
}

// Error is one line: file, key and reason.
func (e *FieldError) Error() string {
	var parts []string
	for _, p := range []string{e.File, e.Field, e.Reason} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	return strings.Join(parts, ": ")
}

// Errors has every problem of a configuration, in the order they were found.
type Errors []*FieldError

// Error is one line for each problem.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, f := range e {
		lines[i] = f.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.As find the FieldErrors.
func (e Errors) Unwrap() []error {
	out := make([]error, len(e))
	for i, f := range e {
		out[i] = f
	}
	return out
}

// addf notes a problem of a key.
func (e *Errors) addf(field, format string, args ...any) {
	*e = append(*e, &FieldError{Field: field, Reason: fmt.Sprintf(format, args...)})
}

// has says whether a problem of the key, of a part of it, or of the section it
// is in, is noted already.
func (e Errors) has(field string) bool {
	for _, f := range e {
		if f.Field == field || isPart(f.Field, field) || isPart(field, f.Field) {
			return true
		}
	}
	return false
}

// isPart says whether key names something inside section.
func isPart(key, section string) bool {
	rest, ok := strings.CutPrefix(key, section)
	return ok && section != "" && rest != "" && (rest[0] == '.' || rest[0] == '[')
}

// merge adds the problems of keys that have none yet.
func (e *Errors) merge(more Errors) {
	known := *e
	for _, f := range more {
		if f.Field == "" || f.File != "" || !known.has(f.Field) {
			*e = append(*e, f)
		}
	}
}

// err is nil when there are no problems; with a file it is put on each.
func (e Errors) err(file string) error {
	if len(e) == 0 {
		return nil
	}
	for _, f := range e {
		if f.File == "" { // else it is of a file in a directory of that one
			f.File = file
		}
	}
	return e
}
