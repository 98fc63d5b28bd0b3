package conf

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// write puts files into a directory.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

const (
	keyA = "ebVWLo/mVPlAeLES6KmLp5AfhTrmlb7X4OORC60ElmQ="
	keyB = "PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw="
	keyC = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
)

func TestClientsDir(t *testing.T) {
	dir := t.TempDir()
	peer := Peer{Name: "phone", PublicKeys: []PublicKey{must(ParsePublic(keyB)), must(ParsePublic(keyC))}}
	write(t, dir, map[string]string{
		"server.yaml":           goodServer,
		"clients.d/phone.yaml":  string(peer.Text()),
		"clients.d/.phone.yaml": "an editor's",
		"clients.d/README":      "of a person",
	})
	s, err := LoadServer(filepath.Join(dir, "server.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Clients) != 2 || s.Clients[1].Name != "phone" || len(s.Clients[1].Keys()) != 2 {
		t.Errorf("%+v", s.Clients)
	}
	if got := s.Clients[1].File(); got != filepath.Join(dir, "clients.d/phone.yaml") {
		t.Error(got)
	}
	// A file of a directory is named with its problem.
	write(t, dir, map[string]string{
		"clients.d/bad.yaml":  "nam: x\nname: bad\npublic_key: " + keyA,
		"clients.d/same.yaml": "name: phone\npublic_key: " + keyA,
		"clients.d/none.toml": "name = 'none'",
	})
	if s, err = LoadServer(filepath.Join(dir, "server.yaml")); err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(dir, "clients.d") + "/"
	want := []string{
		at + "bad.yaml: nam: unknown key, did you mean name?: this client is left out",
		at + `none.toml: public_key: is missing; ` + "`mpsocks check` of the client's file prints it: this client is left out",
		at + `same.yaml: name: "phone" is in ` + at + `phone.yaml too: this client is left out`,
		at + `same.yaml: public_key: is the key of "a" too: this client is left out`,
	}
	if diff := cmp.Diff(want, s.Doubts()); diff != "" {
		t.Error(diff)
	}
	if len(s.Clients) != 2 {
		t.Errorf("%+v", s.Clients)
	}
	// A directory that is not there is an empty one, and a server may begin so.
	write(t, dir, map[string]string{"new.yaml": "private_key: ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=\nclients: []\nclients_dir: later"})
	if _, err := LoadServer(filepath.Join(dir, "new.yaml")); err != nil {
		t.Error(err)
	}
}

// reloads loads a server's file anew, and says who may connect with how many keys, and
// which files are faulty; a kept one has a star.
func reloads(t *testing.T, file string, running *Server) (next *Server, who, faults string) {
	t.Helper()
	next, err := ReloadServer(file, running)
	if err != nil {
		t.Fatal(err)
	}
	var in, out []string
	for _, c := range next.Clients {
		in = append(in, fmt.Sprintf("%s%d", c.Name, len(c.Keys())))
	}
	for _, f := range next.Faults() {
		kept := ""
		if f.Kept {
			kept = "*"
		}
		out = append(out, filepath.Base(f.File)+kept)
		if len(f.Lines()) == 0 || !strings.HasPrefix(f.Lines()[0], f.File) {
			t.Errorf("%s: %q", f.File, f.Lines())
		}
	}
	return next, strings.Join(in, " "), strings.Join(out, " ")
}

// One file of clients.d that is broken, in any way, holds up none of the others: who runs
// keeps what it had, who is new is left out, and who is gone is gone.
func TestOneBrokenClient(t *testing.T) {
	const keyD = "/FHNjmIYoaONpH7QAjDwWAgW7RO6MwOsXeuRFUiQgCU="
	dir := t.TempDir()
	file := filepath.Join(dir, "server.yaml")
	d := filepath.Join(dir, "clients.d")
	phone, tv := "name: phone\npublic_key: "+keyB, "name: tv\npublic_key: "+keyC
	write(t, dir, map[string]string{"server.yaml": goodServer + "\nrules: [{user: phone, class: bulk}]\n", "clients.d/phone.yaml": phone, "clients.d/tv.yaml": tv})
	breaks := map[string]func(path string) error{
		"nonsense":  func(p string) error { return os.WriteFile(p, []byte("{{"), 0o600) },
		"empty":     func(p string) error { return os.WriteFile(p, nil, 0o600) },
		"half":      func(p string) error { return os.WriteFile(p, []byte(phone[:30]), 0o600) },
		"binary":    func(p string) error { return os.WriteFile(p, []byte("\x00\xff\xfe"), 0o600) },
		"huge":      func(p string) error { return os.WriteFile(p, make([]byte, maxFile+2), 0o600) },
		"directory": func(p string) error { return os.Mkdir(p, 0o700) },
		"dangling":  func(p string) error { return os.Symlink("nowhere", p) },
		"loop":      func(p string) error { return os.Symlink(p, p) },
		"pipe":      makePipe,
	}
	for name, broken := range breaks {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(d, "phone.yaml")
			defer func() {
				os.RemoveAll(path)
				write(t, dir, map[string]string{"clients.d/phone.yaml": phone, "clients.d/tv.yaml": tv})
			}()
			running, who, faults := reloads(t, file, nil)
			if who != "a1 phone1 tv1" || faults != "" {
				t.Fatalf("%s; %s", who, faults)
			}
			os.Remove(path)
			if err := broken(path); err != nil {
				t.Skip(err)
			}
			// tv is revoked, and phone goes on, for however many reloads.
			os.Remove(filepath.Join(d, "tv.yaml"))
			for range 2 {
				if running, who, faults = reloads(t, file, running); who != "a1 phone1" || faults != "phone.yaml*" {
					t.Errorf("%s; %s", who, faults)
				}
			}
			if lines := running.Doubts(); len(lines) == 0 || !strings.HasSuffix(lines[0], "keeps what it had") {
				t.Errorf("%q", lines)
			}
			// A server that starts knows only what it can read.
			if s, who, faults := reloads(t, file, nil); who != "a1" || faults != "phone.yaml" || s.Faults()[0].Name() != "phone" || !strings.HasSuffix(s.Doubts()[0], "is left out") {
				t.Errorf("at a start: %s; %s; %q", who, faults, s.Doubts())
			}
			// To take it away revokes it: the rule for it does not stand in the way.
			os.RemoveAll(path)
			if s, who, faults := reloads(t, file, running); who != "a1" || faults != "" || len(s.Doubts()) != 1 {
				t.Errorf("when it is gone: %s; %s; %q", who, faults, s.Doubts())
			}
		})
	}
	t.Run("whose is it", func(t *testing.T) {
		running, _, _ := reloads(t, file, nil)
		step := func(files map[string]string, wantWho, wantFaults string) {
			t.Helper()
			write(t, dir, files)
			next, who, faults := reloads(t, file, running)
			if who != wantWho || faults != wantFaults {
				t.Errorf("%v: %s; %s, want %s; %s", files, who, faults, wantWho, wantFaults)
			}
			running = next
		}
		// Copies come to nothing, whether they sort before or behind.
		step(map[string]string{"clients.d/copy of phone.yaml": phone, "clients.d/zz.yaml": tv, "clients.d/tv.yaml~": "x", "clients.d/#tv.yaml#": "x", "clients.d/tv.yaml.bak": tv},
			"a1 phone1 tv1", "copy of phone.yaml zz.yaml")
		if _, who, faults := reloads(t, file, nil); who != "a1 phone1 tv1" || faults != "copy of phone.yaml zz.yaml" {
			t.Errorf("at a start: %s; %s", who, faults)
		}
		for _, name := range []string{"copy of phone.yaml", "zz.yaml"} {
			os.Remove(filepath.Join(d, name))
		}
		// A key that is given to a second client stays the first one's, whichever file is
		// read first, and both go on.
		step(map[string]string{"clients.d/phone.yaml": "name: phone\npublic_key: " + keyC}, "a1 phone1 tv1", "phone.yaml*")
		if running.Clients[1].PublicKey.String() != keyB {
			t.Error("phone has lost its key")
		}
		step(map[string]string{"clients.d/phone.yaml": phone, "clients.d/tv.yaml": "name: tv\npublic_key: " + keyB}, "a1 phone1 tv1", "tv.yaml*")
		// Two that are changed at once may swap.
		step(map[string]string{"clients.d/phone.yaml": "name: phone\npublic_key: " + keyC, "clients.d/tv.yaml": "name: tv\npublic_key: " + keyB}, "a1 phone1 tv1", "")
		step(map[string]string{"clients.d/phone.yaml": "name: phone\npublic_keys: [" + keyC + ", " + keyD + "]"}, "a1 phone2 tv1", "")
		// The server's own file comes before all.
		step(map[string]string{"server.yaml": goodServer + "\nrules: [{user: phone, class: bulk}]\n", "clients.d/tv.yaml": "name: a\npublic_key: " + keyB}, "a1 phone2 tv1", "tv.yaml*")
		step(map[string]string{"clients.d/tv.yaml": tv}, "a1 phone2 tv1", "tv.yaml*") // phone has that key
	})
	t.Run("the directory is gone", func(t *testing.T) {
		running, _, _ := reloads(t, file, nil)
		if err := os.Rename(d, d+".away"); err != nil {
			t.Fatal(err)
		}
		if _, err := ReloadServer(file, running); err == nil || !strings.Contains(err.Error(), "is gone, and what it had of clients (1)") {
			t.Errorf("%v", err)
		}
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
		if _, who, _ := reloads(t, file, running); who != "a1" {
			t.Error(who)
		}
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestPeerFile(t *testing.T) {
	for name, ok := range map[string]bool{
		"laptop": true, "Ann's": false, "ann@home 2": true, "": false, "../x": false, ".x": false, "a/b": false, " a": false, "jörg": true,
		strings.Repeat("a", 101): false, "a\nb": false,
	} {
		if _, err := PeerFile("d", name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestServerKeys(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"c.yaml": strings.Replace(good, "public_key: "+keyB, "public_keys: ["+keyB+", "+keyC+"]", 1),
		"e.yaml": good,
	})
	c, err := LoadClient(filepath.Join(dir, "c.yaml"))
	if err != nil || len(c.Server.Keys()) != 2 {
		t.Fatalf("%v %v", c, err)
	}
	t.Setenv("MPSOCKS_SERVER_PUBLIC_KEYS", keyC+","+keyB)
	if c, err = LoadClient(filepath.Join(dir, "e.yaml")); err != nil || len(c.Server.Keys()) != 2 {
		t.Errorf("%v %v", c, err)
	}
}
