package conf

import (
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
	keyB = "Md3ta0x/rtJuyqtuUi9nOxNmvWvldtBPd20ZyH3PIU8="
	keyC = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
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
	_, err = LoadServer(filepath.Join(dir, "server.yaml"))
	if err == nil {
		t.Fatal("accepted")
	}
	at := filepath.Join(dir, "clients.d") + "/"
	want := []string{
		at + "bad.yaml: nam: unknown key, did you mean name?",
		at + `none.toml: public_key: is missing; ` + "`mpsocks check` of the client's file prints it",
		at + `same.yaml: name: "phone" is in ` + at + `phone.yaml too`,
		at + `same.yaml: public_key: is the key of "a" too`,
	}
	if diff := cmp.Diff(want, strings.Split(err.Error(), "\n")); diff != "" {
		t.Error(diff)
	}
	// A directory that is not there is an empty one, and a server may begin so.
	write(t, dir, map[string]string{"new.yaml": "private_key: ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=\nclients: []\nclients_dir: later"})
	if _, err := LoadServer(filepath.Join(dir, "new.yaml")); err != nil {
		t.Error(err)
	}
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
