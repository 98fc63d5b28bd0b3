package status

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode"
)

// rude are texts of others, with what their characters would do to who reads them.
var rude = map[string]string{
	"plain":                            "plain",
	"中文 ünï 🙂 שלום":                    "中文 ünï 🙂 שלום",
	"a\x1b[2Jb\x07\r\nc":               "a[2Jbc",         // C0
	"a\u009b2Jb\u0090":                 "a2Jb",           // C1, as 8-bit terminals take it
	"a\u202eb\u2066c":                  "abc",            // turned round
	"a\u2028b\u00adc\u200b\ufeff\x7fd": "abcd",           // ends a line, or is not seen
	"\U000e0041x":                      "x",              // a tag, beyond 16 bits
	"a\x9bb\xff":                       "a\ufffdb\ufffd", // no UTF-8
}

func TestPlain(t *testing.T) {
	for in, want := range rude {
		if got := Plain(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// What is escaped says the same, and prints.
func TestPlainJSON(t *testing.T) {
	for in := range rude {
		raw, err := json.MarshalIndent(map[string]any{in: []string{in, in}}, "", "\t")
		if err != nil {
			t.Fatal(err)
		}
		checkPlainJSON(t, raw)
		// And as somebody else would write it.
		checkPlainJSON(t, []byte(`["`+strings.NewReplacer("\x1b", "", "\x07", "", "\r", "", "\n", "").Replace(in)+`"]`))
	}
}

func checkPlainJSON(t *testing.T, raw []byte) {
	t.Helper()
	var before, after any
	if err := json.Unmarshal(raw, &before); err != nil {
		t.Fatal(err)
	}
	got := PlainJSON(raw)
	if err := json.Unmarshal(got, &after); err != nil || !reflect.DeepEqual(before, after) {
		t.Errorf("%q is %q now: %v", raw, got, err)
	}
	for _, r := range string(got) {
		if !unicode.IsPrint(r) && r != '\n' && r != '\t' {
			t.Errorf("%q has %q", got, r)
		}
	}
}

// An event is what the log says, without what does not print.
func TestEventsArePlain(t *testing.T) {
	var e Events
	_, _ = e.Write([]byte(`{"level":"info","message":"it says \u001b[2J\u009b","why":["x\u202e"],"path":"a"}`))
	if got := e.List()[0].Text; got != "it says [2J ([x])" {
		t.Errorf("%q", got)
	}
}
