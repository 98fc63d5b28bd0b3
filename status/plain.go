package status

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// What others say (a peer's words, a program's name, a host that somebody asks for) may hold
// characters that do not print: they move a terminal's cursor or set its title (C0, and C1 as
// 8-bit terminals take it), or turn the writing of a line round (the overrides of Unicode's
// bidirectional algorithm).

// Plain is a text without what does not print.
func Plain(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s)
}

// PlainJSON is a JSON text that says the same, with what does not print in its strings as
// escapes (RFC 8259, Section 7). It may be body itself.
func PlainJSON(body []byte) []byte {
	var out []byte
	done := 0
	for i := 0; i < len(body); {
		r, n := rune(body[i]), 1
		if r >= utf8.RuneSelf {
			r, n = utf8.DecodeRune(body[i:])
		}
		if r < ' ' || unicode.IsPrint(r) && (r != utf8.RuneError || n > 1) { // what is below can only be white space between values
			i += n
			continue
		}
		out = append(out, body[done:i]...)
		if high, low := utf16.EncodeRune(r); high != unicode.ReplacementChar {
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		} else {
			out = fmt.Appendf(out, `\u%04x`, r)
		}
		i += n
		done = i
	}
	if out == nil {
		return body
	}
	return append(out, body[done:]...)
}
