package conf

import (
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// place copies the test data to a directory of its own with the modes that
// files with keys need, which a checkout does not keep.
func place(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	files, err := filepath.Glob("testdata/*.*")
	if err != nil || len(files) == 0 {
		t.Fatalf("no test data: %v", err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(f)), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestExamplesLoad(t *testing.T) {
	dir := place(t)
	for name, want := range map[string]any{
		"client.yaml":           &Client{},
		"client_anonymous.toml": &Client{},
		"server.yaml":           &Server{},
		"server_keyfile.json":   &Server{},
	} {
		got, err := Load(filepath.Join(dir, name))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if reflect.TypeOf(got) != reflect.TypeOf(want) {
			t.Errorf("%s is a %T, want %T", name, got, want)
		}
	}
}

// TestEveryFieldIsCovered fails when a field is added that no example sets to
// something other than its default: such a field might not decode at all.
func TestEveryFieldIsCovered(t *testing.T) {
	dir := place(t)
	client, err := LoadClient(filepath.Join(dir, "client.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	anonymous, err := LoadClient(filepath.Join(dir, "client_anonymous.toml"))
	if err != nil {
		t.Fatal(err)
	}
	server, err := LoadServer(filepath.Join(dir, "server.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	keyfile, err := LoadServer(filepath.Join(dir, "server_keyfile.json"))
	if err != nil {
		t.Fatal(err)
	}
	covered(t, "client", reflect.ValueOf(*DefaultClient()), reflect.ValueOf(*client), reflect.ValueOf(*anonymous))
	covered(t, "server", reflect.ValueOf(*DefaultServer()), reflect.ValueOf(*server), reflect.ValueOf(*keyfile))
	if !reflect.DeepEqual(client.PrivateKey, anonymous.PrivateKey) {
		t.Error("the key file's key is not the key in the file")
	}
}

// covered walks a struct type: some value differs from the default in every
// field, and in some element of every list.
func covered(t *testing.T, path string, def reflect.Value, values ...reflect.Value) {
	ty := def.Type()
	for i := range ty.NumField() {
		f, name := ty.Field(i), path+"."+ty.Field(i).Name
		if !f.IsExported() {
			continue // not from a file
		}
		if f.Tag.Get("mapstructure") == "" {
			t.Errorf("%s has no key", name)
		}
		var fields []reflect.Value
		for _, v := range values {
			fields = append(fields, v.Field(i))
		}
		if f.Type.Kind() == reflect.Slice {
			element := f.Type.Elem()
			if element.Kind() == reflect.Struct && !hasText(element) && !hasText(f.Type) {
				var all []reflect.Value
				for _, v := range fields {
					for j := range v.Len() {
						all = append(all, v.Index(j))
					}
				}
				covered(t, name, reflect.Zero(element), all...)
				continue
			}
		}
		if f.Type.Kind() == reflect.Struct && !hasText(f.Type) {
			covered(t, name, def.Field(i), fields...)
			continue
		}
		differs := false
		for _, v := range fields {
			differs = differs || !reflect.DeepEqual(v.Interface(), def.Field(i).Interface())
		}
		if !differs {
			t.Errorf("no example sets %s", name)
		}
	}
}

func TestExampleValues(t *testing.T) {
	dir := place(t)
	c, err := LoadClient(filepath.Join(dir, "client.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	wantPath := Path{
		Name: "lte", Bind: "192.0.2.9", Subflows: 2, Backup: true, Metered: true, KernelMPTCP: true,
		DailyCap: 500e6, BillingDay: 5, MonthlyCap: 10 << 30,
	}
	if diff := cmp.Diff(wantPath, c.Paths[1]); diff != "" {
		t.Error(diff)
	}
	if c.SessionTimeout != 90*time.Second || c.Rules[0].DSCP.Value() != 46 || c.Rules[1].DSCP.Value() != 10 ||
		c.Rules[1].Ports != (PortRange{443, 443}) || c.UDP.Ports.Len() != 10001 {
		t.Errorf("got %+v", c)
	}
	s, err := LoadServer(filepath.Join(dir, "server.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if s.Listen[0].KernelMPTCP || !s.Listen[1].KernelMPTCP || s.Listen[0].Address.Port() != 7444 {
		t.Errorf("listen: %+v", s.Listen)
	}
	if c.Server.PublicKey.String() == "" || len(s.Clients[0].PublicKey) != 32 {
		t.Error("public keys are not read")
	}
	j, err := LoadServer(filepath.Join(dir, "server_keyfile.json"))
	if err != nil {
		t.Fatal(err)
	}
	if j.Limits.Sessions != 16 || j.Limits.Mappings != DefaultServer().Limits.Mappings {
		t.Errorf("limits: %+v", j.Limits)
	}
}

func TestEnvironment(t *testing.T) {
	path := filepath.Join(place(t), "client.yaml")
	t.Setenv("MPSOCKS_LOG_LEVEL", "warn")
	t.Setenv("MPSOCKS_LISTEN", "127.0.0.1:9, [::1]:9")
	t.Setenv("MPSOCKS_UDP_PORTS", "50000-50010")
	t.Setenv("MPSOCKS_LIMITS_STREAMS", "77")
	t.Setenv("MPSOCKS_ADMIN", "")
	t.Setenv("MPSOCKS_SESSION_TIMEOUT", "1m")
	c, err := LoadClient(path)
	if err != nil {
		t.Fatal(err)
	}
	if c.Log.Level != "warn" || c.Log.Format != "json" || len(c.Listen) != 2 || c.Listen[1].Port() != 9 ||
		c.UDP.Ports != (PortRange{50000, 50010}) || c.Limits.Streams != 77 || len(c.Admin) > 0 || c.SessionTimeout != time.Minute {
		t.Errorf("got %+v", c)
	}
	t.Setenv("MPSOCKS_LOGLEVEL", "warn")
	t.Setenv("MPSOCKS_PATHS", "eth0")
	t.Setenv("MPSOCKS_RELAY_BIND", "eth0")
	t.Setenv("MPSOCKS_LIMITS_STREAMS", "many")
	_, err = LoadClient(path)
	want := []string{
		"MPSOCKS_LOGLEVEL: unknown environment variable, did you mean MPSOCKS_LOG_LEVEL?",
		"MPSOCKS_PATHS: paths cannot be given in the environment, only in the file",
		"MPSOCKS_RELAY_BIND: relay.bind is a setting of the server, not of the client",
		`MPSOCKS_LIMITS_STREAMS: expected a whole number, got "many"`,
	}
	if diff := cmp.Diff(want, lines(err, path)); diff != "" {
		t.Error(diff)
	}
}

// lines are the problems without the file they all start with.
func lines(err error, path string) []string {
	if err == nil {
		return nil
	}
	return strings.Split(strings.ReplaceAll(err.Error(), path+": ", ""), "\n")
}

func TestEnvNamesAreUnique(t *testing.T) {
	for _, ty := range []reflect.Type{reflect.TypeFor[Client](), reflect.TypeFor[Server]()} {
		seen := map[string]string{}
		for _, k := range settings(ty, "", true) {
			if other, twice := seen[envName(k.path)]; twice {
				t.Errorf("%s and %s are both %s", k.path, other, envName(k.path))
			}
			seen[envName(k.path)] = k.path
		}
	}
}

func TestModes(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no file modes")
	}
	dir := place(t)
	for _, tt := range []struct{ open, load, want string }{
		{"client.yaml", "client.yaml", "holds secrets and others can read it (mode 0644): run chmod 600 " + filepath.Join(dir, "client.yaml")},
		{"client.key", "client_anonymous.toml", "private_key_file: the key in " + filepath.Join(dir, "client.key") + ": others can read it (mode 0644): run chmod 600 " + filepath.Join(dir, "client.key")},
	} {
		if err := os.Chmod(filepath.Join(dir, tt.open), 0o644); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, tt.load)
		_, err := LoadClient(path)
		want := tt.want
		if err == nil || err.Error() != path+": "+want {
			t.Errorf("%s open: %v, want %s", tt.open, err, want)
		}
	}
	// A file without secrets may be read by all.
	path := filepath.Join(dir, "server_keyfile.json")
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadServer(path); err != nil {
		t.Error(err)
	}
}

func TestWriteSecret(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("old"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := WriteSecret(path, []byte("new"), false); !os.IsExist(err) {
		t.Errorf("writes over an existing file: %v", err)
	}
	if err := WriteSecret(path, []byte("new"), true); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	data, _ := os.ReadFile(path)
	if string(data) != "new" || openToOthers(path, info) != "" {
		t.Errorf("%q with mode %v", data, info.Mode())
	}
}
