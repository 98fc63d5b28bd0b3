package cli

import (
	"io"
	"os"
	"strconv"
	"strings"
	"unicode"

	"github.com/charmbracelet/x/ansi"
	"github.com/charmbracelet/x/term"

	"github.com/mpsocks/mpsocks/status"
)

// Text is measured in the cells of a terminal: a letter of Chinese and most emoji have two,
// an accent that is a character of its own none.

// cells is how many of them a text has.
func cells(s string) int { return ansi.StringWidth(s) }

// cut shortens a text to n cells, with a sign that something is missing. What does not
// print, and could move the cursor or turn the writing round, is left out.
func cut(s string, n int) string {
	s = status.Plain(s)
	if cells(s) <= n {
		return s
	}
	return strings.TrimRight(ansi.Truncate(s, max(n-1, 0), ""), " ") + "…"
}

// pad makes a text as wide as a column.
func pad(s string, n int) string {
	s = cut(s, n)
	return s + strings.Repeat(" ", max(0, n-cells(s)))
}

// A table is columns of fixed widths, negative ones for texts that begin at the left; the
// last one takes what is left. Where a line has no room for all, the spare ones are left
// out, in this order.
type table struct{ widths, spare []int }

// line writes one line in n cells.
func (t *table) line(n int, texts ...string) string {
	total := -1
	for _, w := range t.widths {
		total += max(w, -w) + 1
	}
	gone := map[int]bool{}
	for _, i := range t.spare {
		if total <= n {
			break
		}
		gone[i] = true
		total -= max(t.widths[i], -t.widths[i]) + 1
	}
	var parts []string
	for i, text := range texts {
		switch w := t.widths[i]; {
		case gone[i]:
		case i == len(texts)-1:
			parts = append(parts, " "+text)
		case w < 0:
			parts = append(parts, pad(text, -w))
		default:
			parts = append(parts, strings.Repeat(" ", max(w-cells(text), 0))+text)
		}
	}
	return strings.TrimRight(cut(strings.Join(parts, " "), n), " ")
}

// fold breaks a text at blanks into lines of n cells, the later ones set in by two; what is
// beyond so many lines is cut off.
func fold(s string, n, most int) []string {
	var lines []string
	for s != "" {
		room, in := n, ""
		if len(lines) > 0 {
			room, in = n-2, "  "
		}
		if len(lines) == most-1 || cells(s) <= room {
			return append(lines, in+cut(s, room))
		}
		head := ansi.Truncate(s, max(room, 0), "")
		if i := strings.LastIndexByte(head, ' '); i > 0 && !strings.HasPrefix(s[len(head):], " ") {
			head = head[:i]
		}
		if head == "" {
			return append(lines, in+cut(s, room)) // no cell is wide enough
		}
		lines = append(lines, in+cut(head, room))
		s = strings.TrimLeft(s[len(head):], " ")
	}
	return lines
}

// screenSize is how many columns and lines a view may have: those of the terminal, or what
// COLUMNS and LINES say, and 80 by 24 otherwise.
func screenSize(w io.Writer) (width, height int) {
	if f, ok := w.(*os.File); ok && isTerminal(w) {
		if width, height, err := term.GetSize(f.Fd()); err == nil && width > 0 && height > 0 {
			return width, height
		}
	}
	width, height = viewWidth, viewHeight
	if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n > 0 {
		width = n
	}
	if n, err := strconv.Atoi(os.Getenv("LINES")); err == nil && n > 0 {
		height = n
	}
	return width, height
}

// signs are what the views draw beside letters, and what stands for it where the locale
// has no UTF-8.
var signs = strings.NewReplacer("…", "~", "↓", "v", "↑", "^", " · ", " | ", "·", "|",
	"▁", "_", "▂", ".", "▃", "-", "▄", "=", "▅", "+", "▆", "*", "▇", "%", "█", "#")

// legible writes a text as the locale of this process can show it.
func legible(s string) string {
	if speaksUTF8(os.Getenv) {
		return s
	}
	var b strings.Builder
	for _, r := range signs.Replace(s) {
		if r <= unicode.MaxASCII {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Repeat("?", cells(string(r))))
		}
	}
	return b.String()
}

// speaksUTF8 says whether the locale is one of UTF-8, by the variables of POSIX; where none
// of them says anything the terminal is believed to be of today.
func speaksUTF8(getenv func(string) string) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := strings.ToLower(getenv(name)); v != "" {
			return strings.Contains(v, "utf-8") || strings.Contains(v, "utf8")
		}
	}
	return true
}
