package integration

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A type that one still overlooks has no more methods than this, in no more files. There
// is no exception.
const (
	mostMethods = 40
	mostFiles   = 4
)

// A source is one parsed file of the program.
type source struct {
	name string // relative to the root
	fset *token.FileSet
	file *ast.File
}

// sources parses the program's files, tests aside.
func sources(t *testing.T) (all []source) {
	t.Helper()
	dir := root(t)
	for _, name := range goFiles(t, dir) {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, filepath.Join(dir, name), nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, source{filepath.ToSlash(name), fset, f})
	}
	return all
}

// receiver returns the name of a method's receiver and of its type, or "".
func receiver(d ast.Decl) (fn *ast.FuncDecl, recv, typ string) {
	fn, ok := d.(*ast.FuncDecl)
	if !ok || fn.Recv == nil || len(fn.Recv.List) != 1 {
		return nil, "", ""
	}
	e := fn.Recv.List[0].Type
	if star, ok := e.(*ast.StarExpr); ok {
		e = star.X
	}
	if index, ok := e.(*ast.IndexExpr); ok {
		e = index.X
	}
	id, ok := e.(*ast.Ident)
	if !ok {
		return nil, "", ""
	}
	if n := fn.Recv.List[0].Names; len(n) == 1 {
		recv = n[0].Name
	}
	return fn, recv, id.Name
}

func TestTypesAreSmall(t *testing.T) {
	methods, files := map[string]map[string]bool{}, map[string]map[string]bool{}
	for _, s := range sources(t) {
		for _, d := range s.file.Decls {
			fn, _, typ := receiver(d)
			if fn == nil {
				continue
			}
			name := filepath.ToSlash(filepath.Dir(s.name)) + "." + typ
			if methods[name] == nil {
				methods[name], files[name] = map[string]bool{}, map[string]bool{}
			}
			methods[name][fn.Name.Name] = true
			// What a system has instead of another's file is one file.
			base := regexp.MustCompile(`_(linux|unix|bsd|darwin|windows|other)\.go$`).ReplaceAllString(s.name, ".go")
			files[name][base] = true
		}
	}
	for name, m := range methods {
		if len(m) > mostMethods {
			t.Errorf("%s has %d methods, more than %d", name, len(m), mostMethods)
		}
		if n := len(files[name]); n > mostFiles {
			t.Errorf("%s has methods in %d files, more than %d", name, n, mostFiles)
		}
	}
}

// holding says in a method's comment that its caller holds the lock.
var holding = regexp.MustCompile(`(?i)(caller|owner|session)\s+(holds|has)|(lock|locks|mutex|mu)\s+(is|are)\s+held|within\s+enter|held\s+by\s+the\s+caller|guarded\s+by|lock\s+held`)

// embedded marks the name of a type that a guarded struct holds as a part of its own.
const embedded = "*"

func put(all map[string]map[string]string, typ, field, mu string) {
	if all[typ] == nil {
		all[typ] = map[string]string{}
	}
	all[typ][field] = mu
}

// changing returns the fields of a package's struct behind its first group, which is set
// once.
func changing(files []source, in, typ string) (names []string) {
	for _, s := range files {
		if filepath.ToSlash(filepath.Dir(s.name)) != in {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok || spec.Name.Name != typ {
				return true
			}
			last, first := 0, true
			for _, f := range spec.Type.(*ast.StructType).Fields.List {
				line := s.fset.Position(f.Pos()).Line
				first = first && (last == 0 || line == last+1)
				last = s.fset.Position(f.End()).Line
				if !first {
					for _, n := range f.Names {
						names = append(names, n.Name)
					}
				}
			}
			return false
		})
	}
	return names
}

// guarded returns the fields of each struct of a file that its mutex guards: those that
// follow it up to the next blank line, or, where a blank line follows it at once, the
// group behind that.
func guarded(s source) map[string]map[string]string {
	all := map[string]map[string]string{}
	ast.Inspect(s.file, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		st, ok := spec.Type.(*ast.StructType)
		if !ok {
			return true
		}
		line := func(p token.Pos) int { return s.fset.Position(p).Line }
		mu, last := "", 0
		for _, f := range st.Fields.List {
			typ := fmt.Sprint(f.Type)
			if sel, ok := f.Type.(*ast.SelectorExpr); ok {
				typ = fmt.Sprintf("%v.%s", sel.X, sel.Sel.Name)
			}
			begin := line(f.Pos())
			if f.Doc != nil {
				begin = line(f.Doc.Pos())
			}
			switch {
			case len(f.Names) == 1 && (typ == "sync.Mutex" || typ == "sync.RWMutex") && f.Comment != nil && strings.Contains(f.Comment.Text(), "guard"):
				mu = f.Names[0].Name
			case mu != "" && begin > last+1 && last != 0 && all[spec.Name.Name] != nil:
				mu = ""
			case mu != "":
				if id, ok := f.Type.(*ast.Ident); ok && len(f.Names) == 0 { // all of it is guarded
					put(all, spec.Name.Name, embedded+id.Name, mu)
				}
				for _, n := range f.Names {
					if strings.HasPrefix(typ, "atomic.") || strings.HasPrefix(typ, "sync.") {
						continue
					}
					put(all, spec.Name.Name, n.Name, mu)
				}
			}
			last = line(f.End())
			if f.Comment != nil {
				last = line(f.Comment.End())
			}
		}
		return true
	})
	return all
}

// TestLocksAreSaid: a method that touches what a mutex guards locks it, or its comment
// says that the caller does.
func TestLocksAreSaid(t *testing.T) {
	files := sources(t)
	fields := map[string]map[string]string{} // package and type: field: mutex
	for _, s := range files {
		for typ, f := range guarded(s) {
			fields[filepath.Dir(s.name)+"."+typ] = f
		}
	}
	for name, of := range fields {
		for field, mu := range of {
			if typ, ok := strings.CutPrefix(field, embedded); ok {
				in := name[:strings.LastIndex(name, ".")]
				for _, n := range changing(files, in, typ) {
					of[n] = mu
				}
			}
		}
	}
	// What the session's lock guards of the session itself is used within enter alone.
	fields["mux.Session"] = map[string]string{"key": "enter", "up": "enter", "adverts": "enter", "version": "enter"}
	fields["mux.ending"] = map[string]string{"begun": "enter", "err": "enter"}
	if len(fields) < 8 {
		t.Fatalf("only %d types with a mutex were found", len(fields))
	}
	for _, s := range files {
		for _, d := range s.file.Decls {
			fn, recv, typ := receiver(d)
			of := fields[filepath.Dir(s.name)+"."+typ]
			if fn == nil || of == nil || fn.Body == nil || holding.MatchString(fn.Doc.Text()) {
				continue
			}
			touched, locks := map[string]string{}, map[string]bool{}
			ast.Inspect(fn.Body, func(n ast.Node) bool {
				sel, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				if sel.Sel.Name == "enter" { // of its session, whatever that is called here
					locks["enter"] = true
				}
				switch x := sel.X.(type) {
				case *ast.Ident:
					if mu := of[sel.Sel.Name]; x.Name == recv && mu != "" {
						touched[sel.Sel.Name] = mu
					}
				case *ast.SelectorExpr:
					if id, ok := x.X.(*ast.Ident); ok && id.Name == recv && slices.Contains([]string{"Lock", "RLock", "TryLock"}, sel.Sel.Name) {
						locks[x.Sel.Name] = true
					}
				}
				return true
			})
			for field, mu := range touched {
				if !locks[mu] {
					t.Errorf("%s: %s.%s uses %s without %s, and does not say that its caller holds it", s.name, typ, fn.Name.Name, field, mu)
				}
			}
		}
	}
}

// TestEngineIsEntered: nothing touches the engine of a session but the function that
// enters it and the one that makes it.
func TestEngineIsEntered(t *testing.T) {
	found := 0
	for _, s := range sources(t) {
		if filepath.Dir(s.name) != "mux" {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok || sel.Sel.Name != "e" && sel.Sel.Name != "mu" {
				return true
			}
			if inner, ok := sel.X.(*ast.SelectorExpr); ok && inner.Sel.Name == "core" {
				found++
				if s.name != "mux/enter.go" && s.name != "mux/session.go" {
					t.Errorf("%s touches the engine without entering it", s.fset.Position(n.Pos()))
				}
			}
			return true
		})
	}
	if found == 0 {
		t.Error("the engine was not found")
	}
}
