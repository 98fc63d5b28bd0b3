package interop

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A cookbook page is a file of docs/recipes. A block of it that a person copies is
// fenced with its language and the name of its file, such as ```yaml client.yaml, and
// the tests run what stands there.
type cookbookPage struct {
	t      *testing.T
	name   string
	blocks map[string]string
}

// cookbook opens a page.
func cookbook(t *testing.T, name string) *cookbookPage {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "recipes", name))
	if err != nil {
		t.Fatal(err)
	}
	p := &cookbookPage{t: t, name: name, blocks: map[string]string{}}
	block, within := "", false
	for line := range strings.Lines(string(text)) {
		fence, marked := strings.CutPrefix(strings.TrimRight(line, "\n"), "```")
		switch {
		case marked && within:
			within = false
		case marked:
			_, block, _ = strings.Cut(fence, " ")
			if _, twice := p.blocks[block]; twice && block != "" {
				t.Fatalf("docs/recipes/%s has two blocks %q", name, block)
			}
			p.blocks[block], within = "", true
		case within:
			p.blocks[block] += line
		}
	}
	return p
}

// block returns one; edits are pairs of what stands there and what a test needs instead.
func (p *cookbookPage) block(name string, edits ...string) string {
	p.t.Helper()
	text, there := p.blocks[name]
	if !there || name == "" {
		p.t.Fatalf("docs/recipes/%s has no block %q", p.name, name)
	}
	for i := 0; i+1 < len(edits); i += 2 {
		if !strings.Contains(text, edits[i]) {
			p.t.Fatalf("block %q of docs/recipes/%s does not say %q:\n%s", name, p.name, edits[i], text)
		}
		text = strings.ReplaceAll(text, edits[i], edits[i+1])
	}
	return text
}

// cookbookText is the whole of a page.
func cookbookText(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "recipes", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
