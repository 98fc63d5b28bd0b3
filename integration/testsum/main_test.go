package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSummarize(t *testing.T) {
	for _, tt := range []struct {
		name, in, want string
		ok             bool
	}{
		{"pass and skip", `
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestB","Output":"=== RUN   TestB\n"}
{"Action":"output","Package":"p","Test":"TestB","Output":"    b_test.go:7: needs root\n"}
{"Action":"output","Package":"p","Test":"TestB","Output":"--- SKIP: TestB (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"TestB"}
{"Action":"pass","Package":"p","Elapsed":1}
{"Action":"skip","Package":"q","Elapsed":0}
`, "ok  \tp\t1.000s\n?   \tq\t[no test files]\n\nskipped, and why:\n  p TestB: needs root\n\nok: 1 passed, 0 failed, 1 skipped\n", true},
		{"fail", `
{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:7: no\n"}
{"Action":"fail","Package":"p","Test":"TestA","Elapsed":0.5}
{"Action":"output","Package":"p","Output":"FAIL\n"}
{"Action":"fail","Package":"p","Elapsed":1}
`, "--- FAIL: p TestA (0.50s)\n    a_test.go:7: no\nFAIL\tp\t1.000s\nFAIL: 0 passed, 1 failed, 0 skipped\n", false},
		{"build", `
{"ImportPath":"p","Action":"build-output","Output":"p.go:1: no\n"}
{"ImportPath":"p","Action":"build-fail"}
{"Action":"fail","Package":"p","Elapsed":0,"FailedBuild":"p"}
`, "p.go:1: no\nFAIL\tp\t0.000s\nFAIL: 0 passed, 0 failed, 0 skipped\n", false},
		{"panic", `
{"Action":"output","Package":"p","Test":"TestA","Output":"panic: x\n"}
{"Action":"fail","Package":"p","Elapsed":1}
`, "--- FAIL: p TestA (did not end)\npanic: x\nFAIL\tp\t1.000s\nFAIL: 0 passed, 1 failed, 0 skipped\n", false},
		{"nothing ran", "go: cannot find main module\n", "go: cannot find main module\nFAIL: 0 passed, 0 failed, 0 skipped\n", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			ok, err := summarize(strings.NewReader(strings.TrimPrefix(tt.in, "\n")), &out)
			if err != nil || ok != tt.ok {
				t.Errorf("ok is %v (%v)", ok, err)
			}
			if diff := cmp.Diff(tt.want, out.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}
