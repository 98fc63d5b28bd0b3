package integration

import (
	"go/ast"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// judging are the rooms whose constants decide what a session does.
var judging = []string{"mux/engine", "mux/sched", "mux/fq", "mux/dsn", "mux/reseq", "mux/gauge"}

// TestConstantsSayWhy: each number of the engine and its parts has a comment of its own, or
// is named in one beside it, which says why it is what it is: in words, by an RFC or a
// paper, or by its row in docs/tuning.md.
func TestConstantsSayWhy(t *testing.T) {
	found := 0
	for _, s := range sources(t) {
		if !slices.Contains(judging, filepath.ToSlash(filepath.Dir(s.name))) {
			continue
		}
		var all strings.Builder
		for _, group := range s.file.Comments {
			all.WriteString(group.Text())
		}
		for _, d := range s.file.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.CONST {
				continue
			}
			for _, spec := range g.Specs {
				v := spec.(*ast.ValueSpec)
				if len(v.Values) == 0 || enumerates(v.Values[0]) {
					continue
				}
				text := v.Doc.Text() + v.Comment.Text()
				if !g.Lparen.IsValid() {
					text += g.Doc.Text()
				}
				for _, n := range v.Names {
					found++
					named := regexp.MustCompile(`\b` + n.Name + `\b`).MatchString(all.String())
					if len(strings.Fields(text)) < 3 && !named {
						t.Errorf("%s: nothing says why %s is what it is", s.fset.Position(n.Pos()), n.Name)
					}
				}
			}
		}
	}
	if found < 100 {
		t.Errorf("only %d constants were found", found)
	}
}

// enumerates says that a value is one of a count: iota, or made of it.
func enumerates(e ast.Expr) (is bool) {
	ast.Inspect(e, func(n ast.Node) bool {
		id, ok := n.(*ast.Ident)
		is = is || ok && id.Name == "iota"
		return true
	})
	return is
}
