package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode"

	"github.com/mpsocks/mpsocks/conf"
)

// What others say cannot command the terminal that shows a log, in either form.
func TestLogIsPlain(t *testing.T) {
	const rude = "a\x1b[2J\u009b2J\u202eb"
	for _, format := range []string{"console", "json"} {
		var out bytes.Buffer
		log, events := newLogger(conf.Log{Level: "info", Format: format}, &out)
		log.Info().Err(errors.New(rude)).Str("from", rude).Strs("all", []string{rude}).Msg("it says: " + rude)
		line := strings.TrimSuffix(out.String(), "\n")
		if i := strings.IndexFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 {
			t.Errorf("%s: %q", format, line)
		}
		if format == "json" {
			var said map[string]any
			if err := json.Unmarshal([]byte(line), &said); err != nil || said["from"] != rude {
				t.Errorf("%q, %v", said, err)
			}
		}
		if all := events.List(); len(all) != 1 || !strings.HasPrefix(all[0].Text, "it says: a[2J2Jb (") {
			t.Errorf("%+v", all)
		}
	}
}
