package cli

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mpsocks/mpsocks/admin"
	"github.com/mpsocks/mpsocks/conf"
)

// command runs one command line as main does.
func command(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, err strings.Builder
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	code = execute(ctx, args, &out, &err)
	return out.String(), err.String(), code
}

func TestInitWritesFilesThatLoad(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	for server, listen := range map[string]string{
		"203.0.113.5:7443":         "0.0.0.0:7443",
		"[2001:db8::5]:7443":       "[::]:7443",
		"tunnel.example.com:443":   "[::]:443",
		"[::ffff:192.0.2.1]:10443": "0.0.0.0:10443",
	} {
		if _, stderr, code := command(t, "init", "--server", server, "--dir", dir, "--force", "--name", `o'hara "x"`); code != 0 {
			t.Fatal(stderr)
		}
		c, err := conf.LoadClient(filepath.Join(dir, "client.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		s, err := conf.LoadServer(filepath.Join(dir, "server.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		if s.Listen[0].Address != netip.MustParseAddrPort(listen) || c.Server.Addresses[0] != server || s.Clients[0].Name != `o'hara "x"` {
			t.Errorf("%s: %+v %+v", server, s.Listen, c.Server)
		}
		if diff := cmp.Diff(s.PrivateKey.Public(), c.Server.PublicKey); diff != "" {
			t.Error("the client has another key of the server")
		}
		if diff := cmp.Diff(c.PrivateKey.Public(), s.Clients[0].PublicKey); diff != "" {
			t.Error("the server has another key of the client")
		}
		info, err := os.Stat(filepath.Join(dir, "server.yaml"))
		if err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
			t.Errorf("mode %v (%v)", info.Mode(), err)
		}
	}
	before, _ := os.ReadFile(filepath.Join(dir, "client.yaml"))
	_, stderr, code := command(t, "init", "--server", "h:1", "--dir", dir)
	after, _ := os.ReadFile(filepath.Join(dir, "client.yaml"))
	if code != 1 || !strings.Contains(stderr, "--force") || string(before) != string(after) {
		t.Errorf("a second init ends with %d: %s", code, stderr)
	}
}

func TestErrorsAreLines(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.yaml")
	if err := os.WriteFile(bad, []byte("server: {}\nlisten: [1]\nmodus: auto"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args []string
		want []string // each stands at the beginning of its line, behind "mpsocks: "
	}{
		{[]string{"bogus"}, []string{`unknown command "bogus": see mpsocks --help`}},
		{[]string{"clinet", "-c", "x"}, []string{`unknown command "clinet": did you mean client? see mpsocks --help`}},
		{[]string{"client", "now", "-c", "x"}, []string{`"now" is too much: see mpsocks client --help`}},
		{[]string{"client", "client.yaml"}, []string{"\"client.yaml\" is too much: a file is named with -c, as in `mpsocks client -c client.yaml`"}},
		{[]string{"client", "--confg", "x"}, []string{"unknown flag: --confg: did you mean --config? see mpsocks client --help"}},
		{[]string{"client", "--loglevel", "info"}, []string{"unknown flag: --loglevel: it is a setting, log.level in the file or MPSOCKS_LOG_LEVEL in the environment"}},
		{[]string{"client", "-x"}, []string{"unknown flag: -x: see mpsocks client --help"}},
		{[]string{"client", "-c"}, []string{"-c needs a value behind it: see mpsocks client --help"}},
		{[]string{"init", "--server"}, []string{"--server needs a value behind it: see mpsocks init --help"}},
		{[]string{"probe", "--count", "many"}, []string{`--count: "many" is no whole number: see mpsocks probe --help`}},
		{[]string{"probe", "--timeout", "5"}, []string{`--timeout: "5" is no duration, such as 500ms or 8s: see mpsocks probe --help`}},
		{[]string{"status", "--json=perhaps"}, []string{`--json: "perhaps" is neither true nor false: see mpsocks status --help`}},
		{[]string{"status", "---json"}, []string{`"---json" is no flag: see mpsocks status --help`}},
		{[]string{"status", "clent"}, []string{`"clent" is not known, did you mean client? (one of client, server): see mpsocks status --help`}},
		{[]string{"clients", "ad", "x"}, []string{`unknown command "ad": did you mean add? see mpsocks clients --help`}},
		{[]string{"help", "clinet"}, []string{`unknown command "clinet": did you mean client? see mpsocks --help`}},
		{[]string{"help", "clients", "ad"}, []string{`unknown command "ad": did you mean add? see mpsocks clients --help`}},
		{[]string{"completion", "tcsh"}, []string{`unknown command "tcsh": did you mean bash or zsh or fish? see mpsocks completion --help`}},
		{[]string{"client", "-c", ""}, []string{"the name of the configuration is empty: name the file with -c"}},
		{[]string{"init", "--server", "a:1", "--name", "", "--dir", dir}, []string{"--name is empty: give the client one, such as laptop"}},
		{[]string{"clients", "add", "x", "--link", "--out", "y"}, []string{"--link and --out cannot be given together"}},
		{[]string{"clients", "add", "x", "--public-key", "y", "--qr"}, []string{"--public-key and --qr cannot be given together"}},
		{[]string{"clients", "rotate", "x", "--finish", "--link"}, []string{"--finish and --link cannot be given together"}},
		{[]string{"clients", "add"}, []string{"it is used as mpsocks clients add NAME"}},
		{[]string{"check"}, []string{"a file is needed, as in `mpsocks check -c client.yaml`"}},
		{[]string{"status", "all"}, []string{`"all" is not one of client, server: see mpsocks status --help`}},
		{[]string{"restart"}, []string{`unknown command "restart": did you mean service?`}},
		{[]string{"probe", "--proxy", "127.0.0.1"}, []string{`--proxy "127.0.0.1" is not HOST:PORT`}},
		{[]string{"probe", "--proxy", "127.0.0.1:socks"}, []string{`--proxy "127.0.0.1:socks" is not HOST:PORT, such as 127.0.0.1:1080`}},
		{[]string{"probe", "--tcp", "example.com"}, []string{`--tcp "example.com" is not HOST:PORT, such as example.com:443`}},
		{[]string{"probe", "--udp", "9.9.9.9:0"}, []string{`--udp "9.9.9.9:0" is not HOST:PORT, such as 9.9.9.9:53`}},
		{[]string{"probe", "--timeout", "-1s"}, []string{"--timeout has to be more than nothing"}},
		{[]string{"status", "--admin", "http://127.0.0.1:1/?token=x"}, []string{`nothing answers at 127.0.0.1:1: is it running`}},
		{[]string{"init"}, []string{"--server or --link is needed: see mpsocks init --help"}},
		{[]string{"init", "--server", "a:1", "--link", "x"}, []string{"--link and --server cannot be given together"}},
		{[]string{"client", "-c", filepath.Join(dir, "none.yaml")}, []string{filepath.Join(dir, "none.yaml") + ": is not there"}},
		{[]string{"check", "-c", bad}, []string{
			bad + ": modus: unknown key, did you mean mode?",
			bad + ": listen[0]: expected address:port, such as 127.0.0.1:1080, got 1",
			bad + ": private_key: is missing",
			bad + ": server.addresses: needs",
			bad + ": server.public_key: is missing",
		}},
		{[]string{"server", "-c", bad}, []string{bad + ": is a client's file, and a server's is needed"}},
		{[]string{"init", "--server", "nowhere"}, []string{`--server "nowhere" is not HOST:PORT`}},
		{[]string{"init", "--server", "a b:1", "--dir", dir}, []string{"server.addresses[0]: "}},
		{[]string{"status", "--admin", "127.0.0.1:1"}, []string{`nothing answers at 127.0.0.1:1: is it running`}},
	} {
		stdout, stderr, code := command(t, tt.args...)
		lines := strings.Split(strings.TrimSpace(stderr), "\n")
		if code != 1 || stdout != "" || len(lines) != len(tt.want) {
			t.Errorf("%v ends with %d, %q and:\n%s", tt.args, code, stdout, stderr)
			continue
		}
		for i, line := range lines {
			if !strings.HasPrefix(line, "mpsocks: "+tt.want[i]) {
				t.Errorf("%v: line %q, want %q", tt.args, line, tt.want[i])
			}
		}
	}
}

func TestCheckSaysWhatItMeans(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"client.yaml", "server.yaml"} {
		data, err := os.ReadFile(filepath.Join("../conf/testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		stdout, stderr, code := command(t, "check", "-c", path)
		if code != 0 || strings.Contains(stdout, "%!") || strings.Contains(stdout, "battery") {
			t.Errorf("%d\n%s%s", code, stdout, stderr)
		}
		for _, want := range map[string][]string{
			"client.yaml": {"lte, from 192.0.2.9", "at most 10GiB a month", "flows of ann to 10.0.0.0/8 to port 1000-2000 with DSCP 46 are latency"},
			"server.yaml": {"[2001:db8::5]:7445, as kernel MPTCP", "allow      [fd00::]/8:53", "mappings end after 10m0s"},
		}[name] {
			if !strings.Contains(stdout, want) {
				t.Errorf("%s: %q is not in\n%s", name, want, stdout)
			}
		}
	}
}

// An address that this machine does not have is said, and is an error where that is asked for.
func TestCheckKnowsTheMachine(t *testing.T) {
	dir := t.TempDir()
	if _, stderr, code := command(t, "init", "--server", "203.0.113.5:7443", "--dir", dir); code != 0 {
		t.Fatal(stderr)
	}
	const foreign = "192.0.2.77"
	for _, c := range []struct{ file, add, drop, want string }{
		{"server.yaml", "relay: {bind: " + foreign + "}", "relay:", "relay.bind: " + foreign + " is no address of this machine"},
		{"server.yaml", "relay: {bind: nosuchdevice0}", "relay:", "relay.bind: nosuchdevice0 is neither an address nor an interface"},
		{"server.yaml", "listen: ['" + foreign + ":7443']", "listen:", "listen[0]: this machine does not have the address " + foreign},
		{"client.yaml", "listen: ['" + foreign + ":1080']\nallow_anonymous: true", "listen:", "listen[0]: this machine does not have the address " + foreign},
		{"server.yaml", "relay: {bind: 127.0.0.1}", "relay:", ""},
	} {
		text, err := os.ReadFile(filepath.Join(dir, c.file))
		if err != nil {
			t.Fatal(err)
		}
		var kept []string
		inside := false
		for line := range strings.Lines(string(text)) {
			inside = strings.HasPrefix(line, c.drop) || inside && strings.HasPrefix(line, " ")
			if !inside {
				kept = append(kept, line)
			}
		}
		file := filepath.Join(dir, "tried.yaml")
		if err := os.WriteFile(file, []byte(strings.Join(kept, "")+"\n"+c.add+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		stdout, stderr, code := command(t, "check", "-c", file)
		if code != 0 || strings.Contains(stdout, "warning ") != (c.want != "") || !strings.Contains(stdout, c.want) {
			t.Errorf("%s: %d %s%s", c.add, code, stdout, stderr)
		}
		if _, stderr, code := command(t, "check", "--strict", "-c", file); (code == 1) != (c.want != "") || !strings.Contains(stderr, c.want) {
			t.Errorf("%s, --strict: %d %s", c.add, code, stderr)
		}
	}
}

func TestKeygen(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	stdout, _, code := command(t, "keygen", "--out", file)
	key, err := conf.ReadKeyFile(file)
	if code != 0 || err != nil || stdout != "public_key: "+key.Public().String()+"\n" {
		t.Errorf("%d %v %s", code, err, stdout)
	}
	if _, stderr, code := command(t, "keygen", "--out", file); code != 1 || !strings.Contains(stderr, "--force") {
		t.Errorf("a key is written over: %s", stderr)
	}
}

func TestAdminPortTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = admin.Listen(admin.Config{Addrs: []conf.Admin{{Addr: l.Addr().(*net.TCPAddr).AddrPort()}}})
	if err == nil || !strings.Contains(advise(err).Error(), "another program, or another mpsocks, has this port") {
		t.Error(err)
	}
}

func TestFreePort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().(*net.TCPAddr).AddrPort()
	got, err := freePort(taken)
	if err != nil || got == taken || got.Port() == 0 {
		t.Errorf("%v in the place of %v (%v)", got, taken, err)
	}
}

// What is not there is said with what helps there, and with nothing else.
func TestNotThere(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct {
		args []string
		want bool
	}{
		{[]string{"check", "-c", filepath.Join(dir, "none.yaml")}, true},
		{[]string{"client", "-c", filepath.Join(dir, "none.yaml")}, true},
		{[]string{"clients", "list", "-c", filepath.Join(dir, "none.yaml")}, true},
		{[]string{"keygen", "--out", filepath.Join(dir, "none", "key")}, false},
	} {
		_, stderr, code := command(t, tt.args...)
		if got := strings.Contains(stderr, "mpsocks init"); got != tt.want || code != 1 || !strings.Contains(stderr, dir) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%v ends with %d: %s", tt.args, code, stderr)
		}
	}
}

// The environment's list of admin addresses may be empty.
func TestHealthyWithoutAddresses(t *testing.T) {
	t.Setenv("MPSOCKS_ADMIN", " , ")
	t.Setenv("HOME", t.TempDir())
	command(t, "healthy") // whoever runs here
}

// check finds out by the environment which half a file is for, where the file does not tell;
// and it says which interface a pattern means.
func TestCheckKnowsTheHalf(t *testing.T) {
	dir := t.TempDir()
	if _, stderr, code := command(t, "init", "--server", "203.0.113.5:7443", "--dir", dir); code != 0 {
		t.Fatal(stderr)
	}
	c, err := conf.LoadClient(filepath.Join(dir, "client.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "little.yaml")
	if err := os.WriteFile(file, []byte("listen: [127.0.0.1:1080]\nredirect: {listen: []}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, stderr, code := command(t, "check", "-c", file); code != 1 || !strings.Contains(stderr, "server.addresses") {
		t.Errorf("a client's: %d %s", code, stderr)
	}
	if err := os.WriteFile(file, []byte("listen: [127.0.0.1:1080]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("MPSOCKS_SERVER_ADDRESSES", "203.0.113.5:7443")
	t.Setenv("MPSOCKS_SERVER_PUBLIC_KEY", c.Server.PublicKey.String())
	t.Setenv("MPSOCKS_PRIVATE_KEY", c.PrivateKey.Text())
	if stdout, stderr, code := command(t, "check", "-c", file); code != 0 || !strings.Contains(stdout, "a client's configuration") {
		t.Errorf("by the environment: %d %s%s", code, stdout, stderr)
	}
	if runtime.GOOS != "linux" {
		return
	}
	if err := os.WriteFile(file, []byte("listen: [127.0.0.1:1080]\npaths: [{name: any, bind: \"l[o]*\"}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if stdout, stderr, code := command(t, "check", "-c", file); code != 0 || !strings.Contains(stdout, "any, from l[o]* (lo now)") {
		t.Errorf("a pattern: %d %s%s", code, stdout, stderr)
	}
}
