// Command testsum runs `go test -json` and writes what a person wants of it: a line
// for each package, the whole output of tests that failed, and at the end every test
// that was skipped, with its reason. `make test` is it:
//
//	testsum [FLAGS of go test] -- PACKAGES
//
// On a machine that others use too, one test of thousands may wait too long for its
// turn. Up to three that failed run again, each alone and three times; who passes all
// three is listed as unsteady, with what it said, and is not called failed. Races,
// panics and what fails outside of a test stay failures. It exits with 1 if anything failed.
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
)

const (
	mostAgain  = 3 // so many that failed are a fault of what was changed, not of the machine
	timesAgain = 3
)

// event is one line of `go test -json`; `go doc test2json` describes it.
type event struct {
	Action, Package, Test, Output, ImportPath string
	Elapsed                                   float64
}

// test names one test, or a package where Test is empty.
type test struct{ Package, Test string }

// top is the test that go test can be asked for alone.
func (t test) top() test {
	t.Test, _, _ = strings.Cut(t.Test, "/")
	return t
}

// summary gathers the events.
type summary struct {
	out             io.Writer
	output          map[test][]string // until the test passes
	skips, unsteady []string
	passed, skipped int
	failed          map[test][]string // by the test at the top: what it said, with those inside
	packages        int               // that had tests
	broken          bool              // something failed that is no test's own word
}

func main() {
	if err := run(os.Args[1:], os.Stdout, goTest); err != nil {
		fmt.Fprintln(os.Stderr, "testsum:", err)
		os.Exit(1)
	}
}

// goTest runs go test with these arguments and gives its events to take.
func goTest(args []string, take func(io.Reader) error) error {
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return err
	}
	err = take(out)
	var failed *exec.ExitError
	if waited := cmd.Wait(); err == nil && !errors.As(waited, &failed) {
		err = waited
	}
	return err // what failed stands in the events
}

// run is the command; goTest takes its place in tests. The error says what failed.
func run(args []string, out io.Writer, goTest func([]string, func(io.Reader) error) error) error {
	i := slices.Index(args, "--")
	if i < 0 {
		return fmt.Errorf("testsum [FLAGS of go test] -- PACKAGES")
	}
	flags, packages := args[:i:i], args[i+1:]
	s := newSummary(out)
	if err := goTest(append(flags, packages...), s.read); err != nil {
		return err
	}
	if !s.broken && len(s.failed) <= mostAgain {
		for _, t := range slices.SortedFunc(maps.Keys(s.failed), func(a, b test) int {
			return cmp.Or(cmp.Compare(a.Package, b.Package), cmp.Compare(a.Test, b.Test))
		}) {
			fmt.Fprintf(out, "again, alone, %d times: %s %s\n", timesAgain, t.Package, t.Test)
			alone := newSummary(out)
			if err := goTest(append(flags, fmt.Sprint("-count=", timesAgain), "-failfast", "-run", "^"+t.Test+"$", t.Package), alone.read); err != nil {
				return err
			}
			if alone.ok() && alone.passed >= timesAgain {
				s.unsteady = append(s.unsteady, fmt.Sprintf("%s %s: %s", t.Package, t.Test, reason(s.failed[t])))
				delete(s.failed, t)
			}
		}
	}
	s.end()
	if !s.ok() {
		return fmt.Errorf("not everything passed")
	}
	return nil
}

func newSummary(out io.Writer) *summary {
	return &summary{out: out, output: map[test][]string{}, failed: map[test][]string{}}
}

// ok says whether tests ran and none failed.
func (s *summary) ok() bool { return !s.broken && len(s.failed) == 0 && s.packages > 0 }

// read takes events to the end.
func (s *summary) read(r io.Reader) error {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) == nil && e.Action != "" {
				s.take(e)
			} else { // such as a message of the go command itself
				s.out.Write(line)
			}
		}
		if err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func (s *summary) take(e event) {
	t := test{e.Package, e.Test}
	switch e.Action {
	case "output":
		s.output[t] = append(s.output[t], e.Output)
		if strings.HasPrefix(e.Output, "WARNING: DATA RACE") {
			s.broken = true
		}
	case "build-output":
		fmt.Fprint(s.out, e.Output)
	case "build-fail":
		s.broken = true
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
		s.failed[t.top()] = append(s.failed[t.top()], s.output[t]...)
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
		s.packages++
		fmt.Fprintf(s.out, "ok  \t%s\t%.3fs\n", t.Package, e.Elapsed)
	case "skip":
		fmt.Fprintf(s.out, "?   \t%s\t[no test files]\n", t.Package)
	case "fail":
		s.packages++
		// What no single test said: a panic, a race, a leak, os.Exit.
		for _, line := range s.output[t] {
			if line != "FAIL\n" && line != "PASS\n" && !strings.HasPrefix(line, "FAIL\t") {
				fmt.Fprint(s.out, line)
			}
		}
		blamed := false
		for failed := range s.failed {
			blamed = blamed || failed.Package == t.Package
		}
		s.broken = s.broken || !blamed
		// And what was running when the process ended.
		for running, output := range s.output {
			if running.Package == t.Package && running.Test != "" {
				s.broken = true
				s.failed[running.top()] = output
				fmt.Fprintf(s.out, "--- FAIL: %s %s (did not end)\n%s", running.Package, running.Test, strings.Join(output, ""))
				delete(s.output, running)
			}
		}
		fmt.Fprintf(s.out, "FAIL\t%s\t%.3fs\n", t.Package, e.Elapsed)
	}
}

// end writes what was skipped and what was unsteady, and the sum.
func (s *summary) end() {
	s.list("skipped, and why", s.skips)
	s.list(fmt.Sprintf("unsteady, as these failed and then passed %d times alone", timesAgain), s.unsteady)
	word := "ok"
	if !s.ok() {
		word = "FAIL"
	}
	fmt.Fprintf(s.out, "%s: %d passed, %d failed, ", word, s.passed, len(s.failed))
	if len(s.unsteady) > 0 {
		fmt.Fprintf(s.out, "%d unsteady, ", len(s.unsteady))
	}
	fmt.Fprintf(s.out, "%d skipped\n", s.skipped)
}

func (s *summary) list(title string, lines []string) {
	if len(lines) == 0 {
		return
	}
	fmt.Fprintf(s.out, "\n%s:\n", title)
	for _, line := range slices.Sorted(slices.Values(lines)) {
		fmt.Fprintf(s.out, "  %s\n", strings.TrimPrefix(line, "github.com/mpsocks/"))
	}
	fmt.Fprintln(s.out)
}
