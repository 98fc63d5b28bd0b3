package conf

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/go-viper/mapstructure/v2"
	"github.com/spf13/viper"
)

// maxFile is the largest configuration read: ten thousand users fit, and a
// mistaken -c of a disk image ends at once.
const maxFile = 4 << 20

// Kind is which half a file is for.
type Kind string

// The kinds.
const (
	KindClient Kind = "client"
	KindServer Kind = "server"
)

// LoadClient reads a client's file with the environment on top, and validates
// it. The error is an [Errors] with every problem, or that of opening the file.
func LoadClient(path string) (*Client, error) {
	return load(path, DefaultClient(), KindClient, nil)
}

// LoadServer is LoadClient for a server's file. A mistake in a file of the clients_dir is
// no error, see [Server.Faults].
func LoadServer(path string) (*Server, error) {
	return load(path, DefaultServer(), KindServer, nil)
}

// ReloadServer is LoadServer while a server runs by another configuration: who is in a
// file of the clients_dir that has a mistake now keeps what the file said before.
func ReloadServer(path string, running *Server) (*Server, error) {
	return load(path, DefaultServer(), KindServer, running)
}

// Load finds out by its keys which half the file is for and loads it: the
// result is a *Client or a *Server.
func Load(path string) (any, error) {
	raw, _, err := read(path)
	if err != nil {
		return nil, err
	}
	switch kindOf(raw, os.Environ()) {
	case KindClient:
		return asAny(LoadClient(path))
	case KindServer:
		return asAny(LoadServer(path))
	}
	return nil, Errors{{File: path, Reason: "is neither a client's file (which has server: and listen:) nor a server's (which has clients:); `mpsocks init` writes both"}}
}

// asAny keeps a nil pointer from becoming a non-nil any.
func asAny[T any](cfg *T, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return cfg, nil
}

// config is what both kinds of file can do.
type config interface {
	Client | Server
}

// load is the way of a file from the disk to a validated value.
func load[T config](path string, cfg *T, kind Kind, running *Server) (*T, error) {
	raw, info, err := read(path)
	if err != nil {
		return nil, err
	}
	if other := kindOf(raw, nil); other != "" && other != kind {
		return nil, Errors{{File: path, Reason: fmt.Sprintf("is a %s's file, and a %s's is needed; `mpsocks %s` starts it", other, kind, other)}}
	}
	problems := decode(raw, os.Environ(), cfg, kind)
	finish(cfg, path, info, running, &problems)
	vars, _ := environment(os.Environ(), settings(reflect.TypeFor[T](), "", true), kind)
	problems.blame(vars)
	if err := problems.err(path); err != nil {
		return nil, err
	}
	return cfg, nil
}

// read opens the file, bounds it and decodes it by the extension of its name.
func read(path string) (raw map[string]any, info fs.FileInfo, err error) {
	if path == "" {
		return nil, nil, Errors{{Reason: "the name of the configuration is empty: name the file with -c"}}
	}
	// To open a pipe would wait for who writes into it, and a reload with it.
	switch info, err = os.Stat(path); {
	case err != nil: // it cannot be opened either
	case info.IsDir():
		return nil, nil, Errors{{File: path, Reason: "is a directory; name the file in it"}}
	case !info.Mode().IsRegular():
		return nil, nil, Errors{{File: path, Reason: "is no file, but a pipe, a socket or a device"}}
	}
	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return nil, nil, Errors{{File: path, Reason: forbidden(path)}}
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil, Errors{{File: path, Reason: "is not there: name another file with -c, or `mpsocks init --server HOST:PORT` writes new files"}}
	case err != nil:
		return nil, nil, err // it names the file
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil {
		return nil, nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, nil, err
	}
	if len(data) > maxFile {
		return nil, nil, Errors{{File: path, Reason: "is over 4 MiB and so no configuration"}}
	}
	raw, problems := parse(data, strings.TrimPrefix(strings.ToLower(filepath.Ext(path)), "."))
	return raw, info, problems.err(path)
}

// parse decodes the bytes with viper's decoder for the format.
func parse(data []byte, format string) (raw map[string]any, problems Errors) {
	switch format {
	case "yaml", "yml", "toml", "json":
	default:
		problems.addf("", "the name has to end in .yaml, .yml, .toml or .json")
		return nil, problems
	}
	decoder, err := viper.NewCodecRegistry().Decoder(format)
	if err != nil {
		problems.addf("", "%v", err)
		return nil, problems
	}
	raw = map[string]any{}
	if err := decoder.Decode(data, raw); err != nil {
		return nil, unreadable(data, format, err)
	}
	if line := secondDocument(data); line > 0 && format != "toml" && format != "json" {
		problems.addf("", "line %d: a second document of YAML begins here, and nothing of it would count: take the --- out", line)
		return nil, problems
	}
	return raw, nil
}

// kindOf looks for keys that only one of the kinds has: in the file, and in the environment
// if the file tells nothing.
func kindOf(raw map[string]any, env []string) Kind {
	client, server := settings(reflect.TypeFor[Client](), "", true), settings(reflect.TypeFor[Server](), "", true)
	section := func(path string) string {
		name, _, _ := strings.Cut(path, ".")
		return strings.TrimSuffix(name, "[]")
	}
	score := 0
	for key := range raw {
		known := func(s setting) bool { return section(s.path) == strings.ToLower(key) }
		score += only(client, server, known)
	}
	for i := 0; i < len(env) && score == 0; i++ {
		name, _, _ := strings.Cut(env[i], "=")
		score = only(client, server, func(s setting) bool { return s.env && envName(s.path) == name })
	}
	switch {
	case score > 0:
		return KindClient
	case score < 0:
		return KindServer
	}
	return ""
}

// only is 1 for what a client alone has, -1 for what a server alone has, and 0 otherwise.
func only(client, server []setting, known func(setting) bool) int {
	switch c, s := slices.ContainsFunc(client, known), slices.ContainsFunc(server, known); {
	case c && !s:
		return 1
	case s && !c:
		return -1
	}
	return 0
}

// decode puts the raw file, then the environment, into cfg, which has the
// defaults, and returns all problems.
func decode[T config](raw map[string]any, env []string, cfg *T, kind Kind) Errors {
	known := settings(reflect.TypeFor[T](), "", true)

	// The file alone: unknown keys are looked for before viper forgets the
	// empty and the null ones, and the values go into one that is thrown away.
	var problems Errors
	var scratch T
	for _, key := range unknownKeys(raw, reflect.TypeFor[T](), "") {
		reason := "unknown key"
		if peerSecret.MatchString(key) {
			reason = "stays with the client: give its public_key, which `mpsocks check` of the client's file prints"
		} else if near := nearest(key, known); near != "" {
			reason += fmt.Sprintf(", did you mean %s?", near)
		} else {
			reason += "; there are " + beside(key, known)
		}
		problems.addf(key, "%s", reason)
	}
	problems = append(problems, decodeInto(raw, &scratch)...)
	for _, p := range problems {
		p.written = true
	}

	vars, failed := environment(env, known, kind)
	problems = append(problems, failed...)

	// The file and the environment together. A section that the file gives
	// as something else was reported above, and must not hide a variable.
	v := viper.New()
	v.AllowEmptyEnv(true)
	for key := range raw {
		if _, isSection := raw[key].(map[string]any); !isSection && isSectionName(key, known) {
			delete(raw, key)
		}
	}
	if err := v.MergeConfigMap(raw); err != nil {
		problems.addf("", "%v", err)
		return problems
	}
	for key, value := range vars {
		v.Set(key, value)
	}
	problems.merge(decodeInto(v.AllSettings(), cfg))
	return problems
}

// peerSecret is the key of a client's private key, in the list of a server.
var peerSecret = regexp.MustCompile(`^clients\[\d+\]\.private_keys?(_file)?$`)

// decodeInto decodes and returns the problems, each with its key.
func decodeInto(raw map[string]any, into any) (problems Errors) {
	decoder, err := mapstructure.NewDecoder(&mapstructure.DecoderConfig{
		Result:     into,
		DecodeHook: mapstructure.DecodeHookFuncValue(decodeHook),
		// A list of the file replaces a list of the defaults.
		ZeroFields: true,
	})
	if err != nil {
		problems.addf("", "%v", err)
		return problems
	}
	collect(decoder.Decode(raw), &problems)
	return problems
}

// collect walks the tree of mapstructure's errors to those that name a key.
func collect(err error, problems *Errors) {
	if err == nil {
		return
	}
	if named, ok := err.(*mapstructure.DecodeError); ok {
		problems.addf(named.Name(), "%v", named.Unwrap())
		return
	}
	switch e := err.(type) {
	case interface{ Unwrap() []error }:
		for _, one := range e.Unwrap() {
			collect(one, problems)
		}
	case interface{ Unwrap() error }:
		collect(e.Unwrap(), problems)
	default:
		problems.addf("", "%v", err)
	}
}

// isSectionName says whether the key is one with keys of its own below it.
func isSectionName(key string, known []setting) bool {
	for _, k := range known {
		if strings.HasPrefix(k.path, strings.ToLower(key)+".") {
			return true
		}
	}
	return false
}

// finish reads the key file, refuses secrets that others can read, and
// validates.
func finish[T config](cfg *T, path string, info fs.FileInfo, running *Server, problems *Errors) {
	var key *PrivateKey
	var keyFile string
	var dir *string
	var secret bool
	var validate func() Errors
	switch c := any(cfg).(type) {
	case *Client:
		key, keyFile, dir, validate = &c.PrivateKey, c.PrivateKeyFile, &c.StateDir, c.validate
		secret = len(c.PrivateKey) > 0 || len(c.Users) > 0
	case *Server:
		key, keyFile, dir, validate = &c.PrivateKey, c.PrivateKeyFile, &c.StateDir, c.validate
		secret = len(c.PrivateKey) > 0
	}
	if secret {
		if why := openToOthers(path, info); why != "" {
			problems.addf("", "holds secrets and %s", why)
		}
	}
	noteFile(problems, "private_key_file", keyFile)
	if dir != nil {
		noteFile(problems, "state_dir", *dir)
	}
	if s, ok := any(cfg).(*Server); ok {
		noteFile(problems, "clients_dir", s.ClientsDir)
	}
	if dir != nil && *dir != "" {
		*dir = resolve(path, *dir)
	}
	switch {
	case keyFile != "" && len(*key) > 0:
		problems.addf("private_key_file", "private_key is given too: leave one of them out")
	case keyFile != "":
		k, err := ReadKeyFile(resolve(path, keyFile))
		if err != nil {
			problems.addf("private_key_file", "%v", err)
		}
		*key = k
	}
	if s, ok := any(cfg).(*Server); ok && s.ClientsDir != "" {
		s.readClients(resolve(path, s.ClientsDir), running, problems) // it has to know the server's key
	}
	found := validate()
	if problems.has("private_key_file") {
		found = without(found, "private_key") // it is missing for that reason
	}
	problems.merge(found)
}

// without drops the problems of one key.
func without(problems Errors, field string) Errors {
	var out Errors
	for _, p := range problems {
		if p.Field != field {
			out = append(out, p)
		}
	}
	return out
}

// resolve finds a name that a configuration file has, relative to that file.
func resolve(path, name string) string {
	name = expandCredentials(name)
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(filepath.Dir(path), name)
}

// expandCredentials puts the directory in which systemd hands files over
// (LoadCredential=) in the place of ${CREDENTIALS_DIRECTORY} at the beginning of a
// name: a unit cannot know it before.
func expandCredentials(name string) string {
	if rest, ok := strings.CutPrefix(name, "${CREDENTIALS_DIRECTORY}"); ok {
		return os.Getenv("CREDENTIALS_DIRECTORY") + rest
	}
	return name
}
