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
//
// A file with a mistake is a [Fault] of its own: it keeps none of the others from being
// read, so that one can always revoke a client. While the server runs, its client goes on
// with what it had; a server that starts leaves it out.

// maxClientFiles bounds what a directory may bring.
const maxClientFiles = 100_000

// A Fault is a file of a clients_dir that does not count as it stands.
type Fault struct {
	// File is its path.
	File string
	// Peer is what could be read of it.
	Peer Peer
	// Kept says that its client goes on with what the file said before.
	Kept bool
	// Why are its mistakes.
	Why Errors
}

// Lines are the mistakes, a line each, with what becomes of the client.
func (f *Fault) Lines() []string {
	end := ": this client is left out"
	if f.Kept {
		end = ": this client keeps what it had"
	}
	out := make([]string, len(f.Why))
	for i, w := range f.Why {
		out[i] = w.Error() + end
	}
	return out
}

// Name is the client that the file is for, as far as that can be known.
func (f *Fault) Name() string {
	if f.Peer.Name != "" {
		return f.Peer.Name
	}
	return stem(f.File)
}

// Faults are the files of the clients_dir that do not count as they stand.
func (s *Server) Faults() []Fault { return s.faults }

// A candidate is one file of the directory, before it is known who gets in.
type candidate struct {
	path string
	says Peer   // as far as it can be read
	why  Errors // it does not count
	was  *Peer  // what it said when it counted last
	is   *Peer  // what counts of the two
}

// readClients adds the clients of the directory to those of the file. running is the
// configuration before, nil at the start.
func (s *Server) readClients(dir string, running *Server, problems *Errors) {
	had := map[string]*Peer{}
	if running != nil {
		for i := range running.Clients {
			if p := &running.Clients[i]; p.file != "" && filepath.Dir(p.file) == dir {
				had[p.file] = p
			}
		}
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if len(had) > 0 {
			problems.addf("clients_dir", "%s is gone, and what it had of clients (%d): put it back, or make an empty one if they are to be revoked", dir, len(had))
		}
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
	var all []*candidate
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		format := strings.TrimPrefix(strings.ToLower(filepath.Ext(path)), ".")
		if strings.HasPrefix(e.Name(), ".") || !slices.Contains([]string{"yaml", "yml", "toml", "json"}, format) {
			continue // an editor's copy, a note
		}
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			continue // it was removed meanwhile
		}
		c := &candidate{path: path, was: had[path]}
		if c.says, c.why = readPeer(path); len(c.why) == 0 {
			c.says.note(&c.why, "")
		}
		all = append(all, c)
	}
	s.admit(all)
}

// admit decides which of the files count. Each name and each key is one client's: what is
// as it was keeps them, before what is new or has changed.
func (s *Server) admit(all []*candidate) {
	r := newRoster(s.PrivateKey)
	for i := range s.Clients {
		r.add(&s.Clients[i])
	}
	take := func(c *candidate, p *Peer) bool {
		var why Errors
		if r.note(&why, "", p); len(why) == 0 {
			r.add(p)
			c.is = p
		} else if len(c.why) == 0 {
			c.why = why
		}
		return c.is != nil
	}
	for _, c := range all {
		if c.was != nil && (len(c.why) > 0 || reflect.DeepEqual(*c.was, c.says)) {
			take(c, c.was)
		}
	}
	// A file that is named after its client comes before one that may be a copy of it.
	for _, named := range []bool{true, false} {
		for _, c := range all {
			if c.is == nil && len(c.why) == 0 && named == (stem(c.path) == c.says.Name) && !take(c, &c.says) && c.was != nil {
				take(c, c.was)
			}
		}
	}
	for _, c := range all {
		if c.is != nil {
			s.Clients = append(s.Clients, *c.is)
		}
		if len(c.why) > 0 {
			for _, w := range c.why {
				if w.File == "" {
					w.File = c.path
				}
			}
			s.faults = append(s.faults, Fault{File: c.path, Peer: c.says, Kept: c.is != nil, Why: c.why})
		}
	}
}

// stem is the name of a file without its directory and its extension.
func stem(path string) string {
	base := filepath.Base(path)
	return strings.TrimSuffix(base, filepath.Ext(base))
}

// readPeer reads the file of one client.
func readPeer(path string) (p Peer, problems Errors) {
	p.file = path
	raw, _, err := read(path)
	if err != nil {
		switch failed, ok := errors.AsType[*fs.PathError](err); {
		case errors.As(err, &problems):
		case errors.Is(err, fs.ErrNotExist):
			problems.addf("", "leads to a file that is not there")
		case ok:
			problems.addf("", "cannot be read: %v", failed.Err)
		default:
			problems.addf("", "cannot be read: %v", err)
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
