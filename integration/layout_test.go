// Package integration has what crosses packages, processes, namespaces and
// other people's programs. This file holds the rules of the house: who may
// import whom, how long a file may be, and that it is formatted.
package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/mpsocks/mpsocks"

// longest is the number of lines that a file may have: what one still reads
// from top to bottom.
const longest = 400

// pure packages import the standard library only, so that they can be tested
// by plain calls and read without knowing anything else.
var pure = []string{"mux/mptcp", "mux/packet", "mux/buf"}

// still are the packages that take the time as an argument and leave locks,
// connections and the system to others: they are values, and a test of theirs is a
// plain call.
var still = []string{"mux/engine", "mux/sched", "mux/fq", "mux/dsn", "mux/reseq", "mux/gauge", "mux/mptcp", "mux/packet"}

// notStill are what they must not import; of time, only Duration and its units.
var notStill = []string{"sync", "sync/atomic", "net", "crypto/tls", "os", "syscall", "context", "golang.org/x/sys/unix", "unsafe"}

// rooms says where a third party may be imported: a package, or the files of
// it that match a pattern. integration and all tests are free where noted.
var rooms = []struct {
	module string
	rooms  []string // patterns of file names relative to the root
	tests  bool     // whether tests may use it anywhere
}{
	{module: "github.com/spf13/viper", rooms: []string{"conf/*.go"}},
	{module: "github.com/go-viper/mapstructure", rooms: []string{"conf/*.go"}},
	{module: "github.com/spf13/cobra", rooms: []string{"cli/*.go"}},
	{module: "charm.land", rooms: []string{"cli/*.go"}},
	{module: "github.com/prometheus/client_golang", rooms: []string{"admin/*.go"}},
	{module: "github.com/txthinking/socks5", rooms: []string{"client/*.go"}, tests: true},
	{module: "github.com/armon/go-socks5", rooms: []string{"server/*.go"}, tests: true},
	{module: "github.com/vishvananda/netlink", rooms: []string{"client/paths/*.go", "client/confine/*.go", "client/redirect*.go", "client/routing/*.go", "server/egress_linux.go", "server/own_linux.go"}},
	{module: "github.com/cilium/ebpf", rooms: []string{"client/routing/*.go"}},
	{module: "golang.zx2c4.com/wireguard", rooms: []string{"client/machine_plain.go"}},
	{module: "gvisor.dev/gvisor", rooms: []string{"client/tun/*.go"}},
	// They find methods by their names, so that the linker keeps each method of each type: a sixth of the binary, and of what a half has in memory.
	{module: "text/template", tests: true},
	{module: "html/template", tests: true},
}

// within says which rooms each room of the tunnel may import, tests aside, and those rooms of the
// halves that know little of ours besides; mux itself may import all but the ones for tests.
var within = map[string][]string{
	"mux/buf": nil, "mux/mptcp": nil, "mux/packet": nil, // codecs and memory
	"mux/gauge": nil, "mux/zones": nil, "mux/sched": nil, "mux/lull": nil, "mux/amount": nil, "mux/chatter": nil, "mux/turns": nil, "mux/ledger": nil, "mux/records": nil,
	"mux/dsn":       {"mux/buf"},
	"mux/fq":        {"mux/buf", "mux/packet"},
	"mux/reseq":     {"mux/buf", "mux/packet"},
	"mux/engine":    {"mux/buf", "mux/dsn", "mux/fq", "mux/gauge", "mux/mptcp", "mux/packet", "mux/sched"},
	"mux/stream":    {"mux/buf", "mux/hands", "mux/packet", "mux/tcpio"}, // knows no engine and no session
	"mux/udpio":     {"mux/buf", "mux/errno", "mux/hands", "mux/lull", "mux/packet", "mux/zones"},
	"mux/tcpio":     {"mux/lull", "mux/zones"},
	"mux/errno":     nil,
	"mux/handshake": {"mux/mptcp", "mux/proof"},  // messages and keys, no session
	"mux/capture":   {"mux/mptcp", "mux/packet"}, // shows them to people
	// A carrier knows nothing of what it carries, and a gate nothing of what it lets in.
	"mux/carrier": {"mux/lull", "mux/tcpio"}, "mux/gate": {"mux/ledger"}, "mux/proof": nil, "mux/hands": nil,
	"mux/dialer": {"mux/nat64", "mux/resolvconf"}, "mux/nat64": nil, "mux/resolvconf": {"mux/packet"},
	// Which address a name has is asked by what goes out, and is no session's business.
	"server/names": {"mux/buf", "mux/gate", "mux/records", "mux/resolvconf", "mux/turns"},
	// Who lets programs in knows nothing of what they say then, and who asks the system whose a socket is nothing at all.
	"client/admission": {"client/sockdiag", "conf", "mux/chatter", "mux/gate", "mux/ledger", "mux/lull", "mux/tcpio"}, "client/sockdiag": nil,
	// For tests and hostile programs.
	"server/names/namestest": nil,
	"mux/muxtest":            {"mux/buf", "mux/packet"}, "mux/muxtest/pipe": {"mux/carrier"}, "mux/udpio/udpiotest": nil,
}

// forTests are rooms that nothing but tests may import, and their own kind.
var forTests = []string{"mux/muxtest", "mux/muxtest/pipe", "mux/udpio/udpiotest", "server/names/namestest"}

// TestRoomsWithin: each room of the tunnel knows what it is built on, and no more.
func TestRoomsWithin(t *testing.T) {
	for _, goos := range []string{"linux", "darwin", "windows"} {
		for _, p := range packages(t, goos) {
			rel, _ := ours(p.ImportPath)
			may, known := within[rel]
			if room(rel) == "mux" && rel != "mux" && !known {
				t.Errorf("within does not say what %s may import", rel)
			}
			for _, i := range p.Imports {
				dep, isOurs := ours(i)
				switch {
				case isOurs && known && !slices.Contains(may, dep):
					t.Errorf("%s (%s) imports %s", rel, goos, dep)
				case isOurs && slices.Contains(forTests, dep) && !slices.Contains(forTests, rel) && room(rel) != "integration":
					t.Errorf("%s (%s) imports %s, which is for tests", rel, goos, dep)
				}
			}
		}
	}
}

// A pkg is what `go list -json` says about a package.
type pkg struct {
	Dir, ImportPath                    string
	Imports, TestImports, XTestImports []string
}

// root is the directory of go.mod.
func root(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Dir(strings.TrimSpace(string(out)))
}

// packages lists the module's packages as GOOS sees them.
func packages(t *testing.T, goos string) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-json=Dir,ImportPath,Imports,TestImports,XTestImports", "./...")
	cmd.Dir = root(t)
	cmd.Env = append(os.Environ(), "GOOS="+goos, "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// ours is the part of an import path behind the module's, and whether it is
// ours at all. The root package is "".
func ours(path string) (string, bool) {
	rest, ok := strings.CutPrefix(path, module)
	return strings.TrimPrefix(rest, "/"), ok && (rest == "" || rest[0] == '/')
}

// room is the top directory of a package: client, server, mux, ...
func room(rel string) string {
	top, _, _ := strings.Cut(rel, "/")
	return top
}

func TestImports(t *testing.T) {
	// What each room may import of ours, tests aside.
	allowed := map[string][]string{
		"":          {"cli"},
		"cli":       {"cli", "admin", "client", "server", "conf", "mux", "status", "packaging", "durable"},
		"packaging": {},
		"admin":     {"admin", "conf", "status", "durable"},
		"client":    {"client", "conf", "mux", "status"},
		"server":    {"server", "conf", "mux", "status", "durable"},
		// What a half says of itself, for admin and cli, which do not know the
		// halves: hence a room of its own.
		"status": {"mux"},
		"mux":    {"mux", "durable"},
		"conf":   {"conf", "durable"},
		// What they keep on the disk is written, and read, in one place.
		"durable":     {},
		"integration": {"", "cli", "admin", "client", "server", "conf", "mux", "status", "integration"},
	}
	for _, goos := range []string{"linux", "darwin", "windows"} {
		for _, p := range packages(t, goos) {
			rel, _ := ours(p.ImportPath)
			may, known := allowed[room(rel)]
			if !known {
				t.Errorf("%s: the layout has no room %q", rel, room(rel))
			}
			for _, i := range p.Imports {
				dep, isOurs := ours(i)
				if isOurs && !slices.Contains(may, room(dep)) {
					t.Errorf("%s (%s) imports %s", rel, goos, i)
				}
				if slices.Contains(pure, rel) && strings.Contains(room(i), ".") {
					t.Errorf("%s (%s) imports %s, and should only import the standard library", rel, goos, i)
				}
			}
			// Tests may know the halves of their own package only, too.
			for _, i := range append(p.TestImports, p.XTestImports...) {
				if dep, isOurs := ours(i); isOurs && !slices.Contains(may, room(dep)) {
					t.Errorf("%s's tests (%s) import %s", rel, goos, i)
				}
			}
		}
	}
}

// TestRooms reads the import lines of every file: a build constraint may hide
// a file from go list.
func TestRooms(t *testing.T) {
	dir := root(t)
	for _, file := range goFiles(t, dir) {
		data, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rooms {
			if !bytes.Contains(data, []byte(`"`+r.module)) || room(filepath.ToSlash(file)) == "integration" {
				continue
			}
			if r.tests && strings.HasSuffix(file, "_test.go") {
				continue
			}
			fits := false
			for _, pattern := range r.rooms {
				match, err := filepath.Match(pattern, filepath.ToSlash(file))
				if err != nil {
					t.Fatal(err)
				}
				fits = fits || match
			}
			if !fits {
				t.Errorf("%s imports %s, which has its room in %s", file, r.module, strings.Join(r.rooms, ", "))
			}
		}
	}
}

// TestStill reads the files of the packages that have to be values.
func TestStill(t *testing.T) {
	dir := root(t)
	seen := map[string]bool{}
	for _, file := range goFiles(t, dir) {
		in := filepath.ToSlash(filepath.Dir(file))
		if !slices.Contains(still, in) || strings.HasSuffix(file, "_test.go") {
			continue
		}
		seen[in] = true
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, file), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range f.Imports {
			if path := strings.Trim(i.Path.Value, `"`); slices.Contains(notStill, path) {
				t.Errorf("%s imports %s", file, path)
			}
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s starts a goroutine", file)
			case *ast.SelectorExpr:
				x, ok := n.X.(*ast.Ident)
				if ok && x.Name == "time" && !slices.Contains([]string{"Duration", "Nanosecond", "Microsecond", "Millisecond", "Second", "Minute", "Hour"}, n.Sel.Name) {
					t.Errorf("%s uses time.%s", file, n.Sel.Name)
				}
			}
			return true
		})
	}
	for _, p := range still {
		if !seen[p] {
			t.Errorf("there is no package %s", p)
		}
	}
}

// TestNobodyChangesTheMask: the mode that files are made with is the whole process's, and
// another goroutine may be making one.
func TestNobodyChangesTheMask(t *testing.T) {
	dir := root(t)
	for _, file := range goFiles(t, dir) {
		data, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		if room(filepath.ToSlash(file)) != "integration" && bytes.Contains(data, []byte(".Umask(")) {
			t.Errorf("%s changes the process's umask", file)
		}
	}
}

func TestFileLength(t *testing.T) {
	dir := root(t)
	for _, file := range goFiles(t, dir) {
		data, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(data, []byte("\n")); n > longest && !strings.HasSuffix(file, "_test.go") {
			t.Errorf("%s has %d lines, more than %d", file, n, longest)
		}
	}
}

func TestFormatting(t *testing.T) {
	cmd := exec.Command("go", "tool", "gofumpt", "-l", ".")
	cmd.Dir = root(t)
	var said strings.Builder // what was downloaded, too
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil || len(out) > 0 {
		t.Errorf("gofumpt -l lists (%v):\n%s%s", err, out, &said)
	}
}

// goFiles lists the module's Go files relative to dir.
func goFiles(t *testing.T, dir string) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != dir && strings.HasPrefix(d.Name(), ".") {
			return filepath.SkipDir
		}
		if strings.HasSuffix(path, ".go") {
			rel, err := filepath.Rel(dir, path)
			if err != nil {
				return err
			}
			files = append(files, rel)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
