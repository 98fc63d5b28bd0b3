package conf

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"unicode"
)

// A directory of clients has one file for each, in the format of the configuration,
// with the keys of one entry of `clients`. `mpsocks clients` writes there, so that no
// program ever edits a file that a person wrote.

// maxClientFiles bounds what a directory may bring.
const maxClientFiles = 100_000

// readClients adds the clients of the directory to those of the file.
func (s *Server) readClients(dir string, problems *Errors) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		problems.addf("clients_dir", "%v", err)
		return
	}
	if info, err := os.Stat(dir); err == nil {
		if _, _, known := owners(info); known && info.Mode().Perm()&0o002 != 0 {
			problems.addf("clients_dir", "everybody can write to %s, and so let anybody in: run chmod o-w %s", dir, dir)
		}
	}
	if len(entries) > maxClientFiles {
		problems.addf("clients_dir", "%s has %d files, over %d", dir, len(entries), maxClientFiles)
		return
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		format := strings.TrimPrefix(strings.ToLower(filepath.Ext(path)), ".")
		if e.IsDir() || strings.HasPrefix(e.Name(), ".") || !slices.Contains([]string{"yaml", "yml", "toml", "json"}, format) {
			continue // an editor's copy, a note
		}
		peer, found := readPeer(path)
		for _, f := range found {
			if f.File == "" {
				f.File = path
			}
		}
		*problems = append(*problems, found...)
		if len(found) == 0 {
			s.Clients = append(s.Clients, peer)
		}
	}
}

// readPeer reads the file of one client.
func readPeer(path string) (p Peer, problems Errors) {
	raw, _, err := read(path)
	if err != nil {
		if !errors.As(err, &problems) {
			problems.addf("", "%v", err)
		}
		return p, problems
	}
	known := settings(reflect.TypeFor[Peer](), "", false)
	for _, key := range unknownKeys(raw, reflect.TypeFor[Peer](), "") {
		reason := "unknown key"
		if near := nearest(key, known); near != "" {
			reason += fmt.Sprintf(", did you mean %s?", near)
		}
		problems.addf(key, "%s", reason)
	}
	problems = append(problems, decodeInto(raw, &p)...)
	p.file = path
	return p, problems
}

// File is the file of a client in the server's clients_dir, "" for one of the
// configuration file itself.
func (p *Peer) File() string { return p.file }

// ClientsPath is the directory of clients of a loaded configuration file, "" if it
// has none.
func (s *Server) ClientsPath(configFile string) string {
	if s.ClientsDir == "" {
		return ""
	}
	return resolve(configFile, s.ClientsDir)
}

// PeerFile is the name of a client's file in a directory, or why its name cannot be
// one.
func PeerFile(dir, name string) (string, error) {
	bad := strings.ContainsFunc(name, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-_.@ ", r)
	})
	if name == "" || len(name) > 100 || bad || strings.HasPrefix(name, ".") || strings.TrimSpace(name) != name {
		return "", fmt.Errorf("%q cannot be a client's name: use letters, digits and - _ . @", shorten(name))
	}
	return filepath.Join(dir, name+".yaml"), nil
}

// Text is the file of a client in a clients_dir, with all of its settings.
func (p *Peer) Text() []byte {
	var b bytes.Buffer
	b.WriteString("# A client of this server, written by `mpsocks clients`.\n")
	one := *p
	if keys := p.Keys(); len(keys) == 1 {
		one.PublicKey, one.PublicKeys = keys[0], nil
	} else {
		one.PublicKey, one.PublicKeys = nil, keys
	}
	v := reflect.ValueOf(one)
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.IsExported() && !v.Field(i).IsZero() {
			fmt.Fprintf(&b, "%s: %s\n", f.Tag.Get("mapstructure"), yamlText(v.Field(i)))
		}
	}
	return b.Bytes()
}

// yamlText writes a value in YAML's flow style.
func yamlText(v reflect.Value) string {
	if text, ok := v.Interface().(fmt.Stringer); ok {
		return fmt.Sprintf("%q", text)
	}
	switch v.Kind() {
	case reflect.Slice:
		var items []string
		for i := range v.Len() {
			items = append(items, yamlText(v.Index(i)))
		}
		return "[" + strings.Join(items, ", ") + "]"
	case reflect.Struct:
		var fields []string
		for i := range v.NumField() {
			fields = append(fields, v.Type().Field(i).Tag.Get("mapstructure")+": "+yamlText(v.Field(i)))
		}
		return "{" + strings.Join(fields, ", ") + "}"
	case reflect.String:
		return fmt.Sprintf("%q", v.String())
	}
	return fmt.Sprint(v.Interface())
}
