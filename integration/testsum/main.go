// Command testsum reads the output of `go test -json` and writes what a person
// wants of it: a line for each package, the whole output of tests that failed,
// and at the end every test that was skipped, with its reason. It exits with 1
// if anything failed. `make test` ends with it.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// event is one line of `go test -json`; `go doc test2json` describes it.
type event struct {
	Action, Package, Test, Output, ImportPath string
	Elapsed                                   float64
}

// test names one test, or a package where Test is empty.
type test struct{ Package, Test string }

// summary gathers the events.
type summary struct {
	out                      io.Writer
	output                   map[test][]string // until the test passes
	skips                    []string
	passed, failed, skipped  int
	packageFailed, noPackage bool
}

func main() {
	ok, err := summarize(os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testsum:", err)
	}
	if !ok || err != nil {
		os.Exit(1)
	}
}

// summarize reads to the end and says whether everything passed.
func summarize(r io.Reader, w io.Writer) (ok bool, err error) {
	s := &summary{out: w, output: map[test][]string{}, noPackage: true}
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) == nil && e.Action != "" {
				s.take(e)
			} else { // such as a message of the go command itself
				w.Write(line)
			}
		}
		if err == io.EOF {
			break
		} else if err != nil {
			return false, err
		}
	}
	s.end()
	return s.failed == 0 && !s.packageFailed && !s.noPackage, nil
}

func (s *summary) take(e event) {
	t := test{e.Package, e.Test}
	switch e.Action {
	case "output":
		s.output[t] = append(s.output[t], e.Output)
	case "build-output":
		fmt.Fprint(s.out, e.Output)
	case "build-fail":
		s.packageFailed = true
	case "pass", "fail", "skip":
		if e.Test == "" {
			s.packageDone(e, t)
		} else {
			s.testDone(e, t)
		}
		delete(s.output, t)
	}
}

func (s *summary) testDone(e event, t test) {
	switch e.Action {
	case "pass":
		s.passed++
	case "fail":
		s.failed++
		fmt.Fprintf(s.out, "--- FAIL: %s %s (%.2fs)\n", t.Package, t.Test, e.Elapsed)
		for _, line := range s.output[t] {
			if !strings.HasPrefix(line, "=== ") && !strings.HasPrefix(strings.TrimSpace(line), "--- FAIL") {
				fmt.Fprint(s.out, line)
			}
		}
	case "skip":
		s.skipped++
		s.skips = append(s.skips, fmt.Sprintf("%s %s: %s", t.Package, t.Test, reason(s.output[t])))
	}
}

// reason is what the test gave to t.Skip: the lines between the frame's, with
// the place in the source cut off the front.
func reason(output []string) string {
	var words []string
	for _, line := range output {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "=== ") || strings.HasPrefix(line, "--- ") {
			continue
		}
		if place, rest, ok := strings.Cut(line, ": "); ok && strings.Contains(place, ".go:") {
			line = rest
		}
		words = append(words, line)
	}
	if len(words) == 0 {
		return "no reason given"
	}
	return strings.Join(words, " ")
}

func (s *summary) packageDone(e event, t test) {
	switch e.Action {
	case "pass":
		s.noPackage = false
		fmt.Fprintf(s.out, "ok  \t%s\t%.3fs\n", t.Package, e.Elapsed)
	case "skip":
		fmt.Fprintf(s.out, "?   \t%s\t[no test files]\n", t.Package)
	case "fail":
		s.noPackage, s.packageFailed = false, true
		// What no single test said: a panic, a race, a leak, os.Exit.
		for _, line := range s.output[t] {
			if line != "FAIL\n" && line != "PASS\n" && !strings.HasPrefix(line, "FAIL\t") {
				fmt.Fprint(s.out, line)
			}
		}
		// And what was running when the process ended.
		for running, output := range s.output {
			if running.Package == t.Package && running.Test != "" {
				s.failed++
				fmt.Fprintf(s.out, "--- FAIL: %s %s (did not end)\n%s", running.Package, running.Test, strings.Join(output, ""))
				delete(s.output, running)
			}
		}
		fmt.Fprintf(s.out, "FAIL\t%s\t%.3fs\n", t.Package, e.Elapsed)
	}
}

// end writes what was skipped, and the sum.
func (s *summary) end() {
	if len(s.skips) > 0 {
		fmt.Fprintf(s.out, "\nskipped, and why:\n")
		slices.Sort(s.skips)
		for _, line := range s.skips {
			fmt.Fprintf(s.out, "  %s\n", strings.TrimPrefix(line, "github.com/mpsocks/"))
		}
		fmt.Fprintln(s.out)
	}
	word := "ok"
	if s.failed > 0 || s.packageFailed || s.noPackage {
		word = "FAIL"
	}
	fmt.Fprintf(s.out, "%s: %d passed, %d failed, %d skipped\n", word, s.passed, s.failed, s.skipped)
}
