package main

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRun(t *testing.T) {
	const (
		failing = `{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:7: no\n"}
{"Action":"fail","Package":"p","Test":"TestA","Elapsed":0.5}
{"Action":"output","Package":"p","Output":"FAIL\n"}
{"Action":"fail","Package":"p","Elapsed":1}
`
		failed = "--- FAIL: p TestA (0.50s)\n    a_test.go:7: no\nFAIL\tp\t1.000s\n"
	)
	var many strings.Builder
	for i := range mostAgain + 1 {
		many.WriteString(strings.ReplaceAll(failing, "TestA", fmt.Sprint("Test", i)))
	}
	for _, tt := range []struct {
		name, in, again, want string
		ok                    bool
	}{
		{name: "pass and skip", in: `
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestB","Output":"=== RUN   TestB\n"}
{"Action":"output","Package":"p","Test":"TestB","Output":"    b_test.go:7: needs root\n"}
{"Action":"output","Package":"p","Test":"TestB","Output":"--- SKIP: TestB (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"TestB"}
{"Action":"pass","Package":"p","Elapsed":1}
{"Action":"skip","Package":"q","Elapsed":0}
`, want: "ok  \tp\t1.000s\n?   \tq\t[no test files]\n\nskipped, and why:\n  p TestB: needs root\n\nok: 1 passed, 0 failed, 1 skipped\n", ok: true},
		{name: "fails again", in: failing, again: `
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:7: no\n"}
{"Action":"fail","Package":"p","Test":"TestA","Elapsed":0.5}
{"Action":"fail","Package":"p","Elapsed":1}
`, want: failed + "again, alone, 3 times: p TestA\n" + failed + "FAIL: 0 passed, 1 failed, 0 skipped\n"},
		{name: "passes alone, but too seldom", in: failing, again: `
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p","Elapsed":1}
`, want: failed + "again, alone, 3 times: p TestA\nok  \tp\t1.000s\nFAIL: 0 passed, 1 failed, 0 skipped\n"},
		{name: "unsteady", in: failing, again: `
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p","Elapsed":1}
`, want: failed + "again, alone, 3 times: p TestA\nok  \tp\t1.000s\n\nunsteady, as these failed and then passed 3 times alone:\n  p TestA: no\n\nok: 0 passed, 0 failed, 1 unsteady, 0 skipped\n", ok: true},
		{name: "fails within", in: `
{"Action":"output","Package":"p","Test":"TestA/b","Output":"    a_test.go:7: no\n"}
{"Action":"fail","Package":"p","Test":"TestA/b","Elapsed":0.5}
{"Action":"fail","Package":"p","Test":"TestA","Elapsed":0.5}
{"Action":"fail","Package":"p","Elapsed":1}
`, again: `
{"Action":"skip","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p","Elapsed":1}
`, want: "--- FAIL: p TestA/b (0.50s)\n    a_test.go:7: no\n--- FAIL: p TestA (0.50s)\nFAIL\tp\t1.000s\nagain, alone, 3 times: p TestA\nok  \tp\t1.000s\nFAIL: 0 passed, 1 failed, 0 skipped\n"},
		{name: "too many fail", in: many.String(), want: "--- FAIL: p Test0 (0.50s)\n    a_test.go:7: no\nFAIL\tp\t1.000s\n--- FAIL: p Test1 (0.50s)\n    a_test.go:7: no\nFAIL\tp\t1.000s\n" +
			"--- FAIL: p Test2 (0.50s)\n    a_test.go:7: no\nFAIL\tp\t1.000s\n--- FAIL: p Test3 (0.50s)\n    a_test.go:7: no\nFAIL\tp\t1.000s\nFAIL: 0 passed, 4 failed, 0 skipped\n"},
		{name: "a race", in: strings.Replace(failing, "    a_test.go:7: no", "WARNING: DATA RACE", 1), want: "--- FAIL: p TestA (0.50s)\nWARNING: DATA RACE\nFAIL\tp\t1.000s\nFAIL: 0 passed, 1 failed, 0 skipped\n"},
		{name: "fails outside of its tests", in: `
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Output":"leak\n"}
{"Action":"fail","Package":"p","Elapsed":1}
`, want: "leak\nFAIL\tp\t1.000s\nFAIL: 1 passed, 0 failed, 0 skipped\n"},
		{name: "build", in: `
{"ImportPath":"p","Action":"build-output","Output":"p.go:1: no\n"}
{"ImportPath":"p","Action":"build-fail"}
{"Action":"fail","Package":"p","Elapsed":0,"FailedBuild":"p"}
`, want: "p.go:1: no\nFAIL\tp\t0.000s\nFAIL: 0 passed, 0 failed, 0 skipped\n"},
		{name: "panic", in: `
{"Action":"output","Package":"p","Test":"TestA","Output":"panic: x\n"}
{"Action":"fail","Package":"p","Elapsed":1}
`, want: "--- FAIL: p TestA (did not end)\npanic: x\nFAIL\tp\t1.000s\nFAIL: 0 passed, 1 failed, 0 skipped\n"},
		{name: "nothing ran", in: "go: cannot find main module\n", want: "go: cannot find main module\nFAIL: 0 passed, 0 failed, 0 skipped\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			again := ""
			err := run([]string{"-race", "--", "./..."}, &out, func(args []string, take func(io.Reader) error) error {
				if got := strings.Join(args, " "); got == "-race ./..." {
					return take(strings.NewReader(strings.TrimPrefix(tt.in, "\n")))
				} else if want := "-race -count=3 -failfast -run ^TestA$ p"; got != want {
					t.Errorf("again as %q, want %q", got, want)
				}
				again = tt.again
				return take(strings.NewReader(strings.TrimPrefix(tt.again, "\n")))
			})
			if (err == nil) != tt.ok || again != tt.again {
				t.Errorf("says %v; again %q", err, again)
			}
			if diff := cmp.Diff(tt.want, out.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}
