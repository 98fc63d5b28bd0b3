package e2e

import (
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/integration/bench/halves"
)

var updateMistakes = flag.Bool("update", false, "write docs/mistakes.md anew")

// A mistake is what a person gets wrong, and a part of the line that says so.
type mistake struct {
	what string // for the table
	// do makes the mistake in a directory with both files of init; it returns a command
	// line that fails at once, or nil and what a running half says.
	do   func(t *testing.T, w *workshop) (args []string, said func() string)
	line string // what the line has; PORT and the like stand for what differs
}

// A workshop is a fresh pair of files and what a mistake needs.
type workshop struct {
	halves.Config
	t *testing.T
}

// edit changes the text of one file.
func (w *workshop) edit(file string, change func(string) string) {
	w.t.Helper()
	old, _ := os.ReadFile(file) // "" if it is a new one
	if err := os.WriteFile(file, []byte(change(string(old))), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// start runs a half until the end of the test; what it says is returned by the function.
func (w *workshop) start(args ...string) func() string {
	w.t.Helper()
	p, err := halves.Run(mpsocks, args...)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(p.Kill)
	return p.Output
}

func (w *workshop) server() func() string { return w.start("server", "-c", w.ServerFile) }
func (w *workshop) client() func() string { return w.start("client", "-c", w.ClientFile) }

// replaced is a mistake in the text of the client's file.
func replaced(old, text string) func(*testing.T, *workshop) ([]string, func() string) {
	return func(t *testing.T, w *workshop) ([]string, func() string) {
		w.edit(w.ClientFile, func(s string) string {
			if !strings.Contains(s, old) {
				t.Fatalf("the file has no %q:\n%s", old, s)
			}
			return strings.Replace(s, old, text, 1)
		})
		return []string{"client", "-c", w.ClientFile}, nil
	}
}

func added(text string) func(*testing.T, *workshop) ([]string, func() string) {
	return func(_ *testing.T, w *workshop) ([]string, func() string) {
		w.edit(w.ClientFile, func(s string) string { return s + text })
		return []string{"client", "-c", w.ClientFile}, nil
	}
}

// people are what people get wrong.
var people = []mistake{
	{"misspells a setting", added("foward: []\n"), "foward: unknown key, did you mean forwards?"},
	{"misspells a command", func(*testing.T, *workshop) ([]string, func() string) { return []string{"clinet"}, nil }, "unknown command \"clinet\": did you mean client"},
	{"starts the client with the server's file", func(_ *testing.T, w *workshop) ([]string, func() string) {
		return []string{"client", "-c", w.ServerFile}, nil
	}, "is a server's file, and a client's is needed; `mpsocks server` starts it"},
	{"names a file that is not there", func(*testing.T, *workshop) ([]string, func() string) {
		return []string{"client", "-c", "nowhere.yaml"}, nil
	}, "`mpsocks init --server HOST:PORT` writes new files"},
	{"indents YAML with a tab", added("udp:\n\toffload: auto\n"), "is indented with a tab, and YAML takes spaces only"},
	{"writes a setting twice", added("mode: auto\nmode: latency\n"), "mode is there already, in line "},
	{"saves the file as something else than UTF-8", func(_ *testing.T, w *workshop) ([]string, func() string) {
		w.edit(w.ClientFile, func(s string) string { return strings.Join(strings.Split(s, ""), "\x00") })
		return []string{"client", "-c", w.ClientFile}, nil
	}, "is no text in UTF-8: have the editor save it as that"},
	{"writes the file as another kind of file", func(_ *testing.T, w *workshop) ([]string, func() string) {
		w.edit(w.ClientFile, func(string) string { return "listen = [\"127.0.0.1:1080\"]\n" })
		return []string{"client", "-c", w.ClientFile}, nil
	}, "does not consist of yaml settings, such as mode: auto"},
	{"names a directory", func(_ *testing.T, w *workshop) ([]string, func() string) { return []string{"client", "-c", w.Dir}, nil }, "is a directory; name the file in it"},
	{"has an empty file", func(_ *testing.T, w *workshop) ([]string, func() string) {
		w.edit(w.ClientFile, func(string) string { return "" })
		return []string{"check", "-c", w.ClientFile}, nil
	}, "is neither a client's file (which has server: and listen:) nor a server's (which has clients:)"},
	{"writes an address of IPv6 without brackets", replaced("addresses: [", "addresses: [\"2001:db8::1:7443\", "), "is not host:port, such as example.com:443 or [2001:db8::1]:443"},
	{"writes the server's address as a URL", replaced("addresses: [", "addresses: [\"https://203.0.113.5:7443\", "), "is a URL: write host:port alone, without https://"},
	{"gives a setting as a flag", func(_ *testing.T, w *workshop) ([]string, func() string) {
		return []string{"client", "-c", w.ClientFile, "--loglevel", "debug"}, nil
	}, "it is a setting, log.level in the file or MPSOCKS_LOG_LEVEL in the environment"},
	{"misspells a value", replaced("{level: info", "{level: inof"), "log.level: \"inof\" is not known, did you mean info?"},
	{"misspells a list of destinations", func(t *testing.T, w *workshop) ([]string, func() string) {
		w.edit(w.ServerFile, func(s string) string { return strings.Replace(s, "relay:\n", "relay:\n  deny: [metdata]\n", 1) })
		return []string{"server", "-c", w.ServerFile}, nil
	}, "\"metdata\" is not known, did you mean metadata?"},
	{"asks a proxy where none is", func(*testing.T, *workshop) ([]string, func() string) {
		return []string{"probe", "--proxy", "127.0.0.1:1", "--udp", ""}, nil
	}, "nothing listens at 127.0.0.1:1: start the client there"},
	{"gives admin the port of listen", func(t *testing.T, w *workshop) ([]string, func() string) {
		w.edit(w.ClientFile, func(s string) string { return replaceLine(s, "admin:", "admin: "+w.Socks[0].String()) })
		return []string{"client", "-c", w.ClientFile}, nil
	}, "is taken by listen[0]"},
	{"leaves the key's file readable by everybody", func(t *testing.T, w *workshop) ([]string, func() string) {
		key := filepath.Join(w.Dir, "key")
		if err := os.WriteFile(key, []byte(strings.TrimPrefix(lineOf(t, w.ClientFile, "private_key:"), "private_key: ")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		w.edit(w.ClientFile, func(s string) string { return replaceLine(s, "private_key:", "private_key_file: key") })
		return []string{"client", "-c", w.ClientFile}, nil
	}, "others can read it (mode 0644): run chmod 600"},
	{"gives two clients the same key", func(t *testing.T, w *workshop) ([]string, func() string) {
		line := lineOf(t, w.ServerFile, "  - {name: here")
		w.edit(w.ServerFile, func(s string) string {
			return strings.Replace(s, line, line+"\n"+strings.Replace(line, "name: here", "name: there", 1), 1)
		})
		return []string{"server", "-c", w.ServerFile}, nil
	}, "clients[1].public_key: is the key of \"here\" too"},
	{"misspells an interface at the server", func(t *testing.T, w *workshop) ([]string, func() string) {
		w.edit(w.ServerFile, func(s string) string { return strings.Replace(s, "relay:\n", "relay:\n  bind: eth77\n", 1) })
		return []string{"server", "-c", w.ServerFile}, nil
	}, "relay.bind: eth77 is neither an address nor an interface of this machine; `mpsocks check` shows which there are"},
	{"misspells an interface at the client", func(t *testing.T, w *workshop) ([]string, func() string) {
		w.edit(w.ClientFile, func(s string) string { return strings.Replace(s, "bind: 127.0.0.1", "bind: eth77", 1) })
		return nil, w.client()
	}, "no such interface yet; waiting for it"},
	{"gives two paths the same interface", func(t *testing.T, w *workshop) ([]string, func() string) {
		w.edit(w.ClientFile, func(s string) string { return strings.ReplaceAll(s, "bind: 127.0.0.2", "bind: 127.0.0.1") })
		return nil, w.client()
	}, "leads by the same way as path one: the two die together"},
	{"writes nonsense into the environment", func(t *testing.T, w *workshop) ([]string, func() string) {
		t.Setenv("WITH", "MPSOCKS_MODE=fast")
		return []string{"client", "-c", w.ClientFile}, nil
	}, "MPSOCKS_MODE: \"fast\" is not one of auto, aggregate, redundant, latency"},
	{"misspells what to do with clients", func(_ *testing.T, w *workshop) ([]string, func() string) {
		return []string{"clients", "ad", "phone"}, nil
	}, "unknown command \"ad\": did you mean add? see mpsocks clients --help"},
	{"misspells a flag", func(_ *testing.T, w *workshop) ([]string, func() string) {
		return []string{"client", "--confg", w.ClientFile}, nil
	}, "unknown flag: --confg: did you mean --config? see mpsocks client --help"},
	{"says more than there is to say", func(_ *testing.T, w *workshop) ([]string, func() string) {
		return []string{"client", w.ClientFile}, nil
	}, "is too much: a file is named with -c, as in"},
	{"takes a name for a client that is no name of a file", func(_ *testing.T, w *workshop) ([]string, func() string) {
		return []string{"clients", "add", "../phone", "-c", w.ServerFile}, nil
	}, "cannot be a client's name: use letters, digits and - _ . @"},
	{"breaks a file in clients.d", func(t *testing.T, w *workshop) ([]string, func() string) {
		if err := os.MkdirAll(filepath.Join(w.Dir, "clients.d"), 0o755); err != nil {
			t.Fatal(err)
		}
		w.edit(filepath.Join(w.Dir, "clients.d", "phone.yaml"), func(string) string { return "name: phone\npublic_key: abc\n" })
		return nil, w.server()
	}, "ends in =: this client is left out"},
	{"copies a file in clients.d", func(t *testing.T, w *workshop) ([]string, func() string) {
		does(t, "clients", "add", "phone", "-c", w.ServerFile, "--server", w.Tunnel.String(), "--out", filepath.Join(w.Dir, "phone.yaml"))
		dir := filepath.Join(w.Dir, "clients.d")
		w.edit(filepath.Join(dir, "tablet.yaml"), func(string) string { return read(t, filepath.Join(dir, "phone.yaml")) })
		return []string{"check", "--strict", "-c", w.ServerFile}, nil
	}, "phone.yaml too: this client is left out"},
	{"names a client in a rule who is none", func(t *testing.T, w *workshop) ([]string, func() string) {
		w.edit(w.ServerFile, func(s string) string { return s + "rules: [{user: bob, class: bulk}]\n" })
		return nil, w.server()
	}, "so the rule holds for nobody"},
	{"forgets the unit of a time", added("session_timeout: 90\n"), "session_timeout: 90 needs a unit: 90s, 90m or 90h"},
	{"forgets the unit of a size", replaced("subflows: 1}", "subflows: 1, monthly_cap: 10}"), "needs a unit, such as 500MB or 10GiB"},
	{"writes off for a truth value of another kind", added("allow_anonymous: 5\n"), "allow_anonymous: expected true or false, got 5"},
	{"leaves the file readable by everybody", func(t *testing.T, w *workshop) ([]string, func() string) {
		if err := os.Chmod(w.ClientFile, 0o644); err != nil {
			t.Fatal(err)
		}
		return []string{"client", "-c", w.ClientFile}, nil
	}, "holds secrets and others can read it (mode 0644): run chmod 600"},
	{"cuts a key off when copying it", replaced("private_key: ", "private_key: abc # "), "private_key: is not base64; a key has 44 characters and ends in ="},
	{"gives the client its own key as the server's", func(_ *testing.T, w *workshop) ([]string, func() string) {
		key := publicKey(w.t, w.ServerFile)
		w.edit(w.ClientFile, func(s string) string { return replaceLine(s, "  public_key:", "  public_key: "+key) })
		return []string{"client", "-c", w.ClientFile}, nil
	}, "server.public_key: is this client's own key, not the server's"},
	{"listens for everybody without a password", func(t *testing.T, w *workshop) ([]string, func() string) {
		w.edit(w.ClientFile, func(s string) string { return replaceLine(s, "listen:", `listen: ["0.0.0.0:1080"]`) })
		return []string{"client", "-c", w.ClientFile}, nil
	}, "lets everybody in who can reach it: give users, or set allow_anonymous: true"},
	{"takes a port that another program has", func(t *testing.T, w *workshop) ([]string, func() string) {
		l, err := net.Listen("tcp", w.Socks[0].String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return []string{"client", "-c", w.ClientFile}, nil
	}, "address already in use: another program, or another mpsocks, has this port"},
	{"uses an address that the machine does not have", func(t *testing.T, w *workshop) ([]string, func() string) {
		w.edit(w.ServerFile, func(s string) string { return replaceLine(s, "listen:", `listen: ["192.0.2.77:7443"]`) })
		return []string{"server", "-c", w.ServerFile}, nil
	}, "this machine does not have the address"},
	{"writes an address without a port", replaced("addresses: [", "addresses: [\"203.0.113.5\", "), "\"203.0.113.5\" is not host:port"},
	{"names a path twice", replaced("  - {name: two", "  - {name: one"), "paths[1].name: \"one\" is there twice"},
	{"writes a rule behind one that matches everything", added("rules: [{class: bulk}, {ports: 53, class: latency}]\n"), "rules[1]: is never reached: rules[0] matches everything"},
	{"names a user in a rule who is none", added("rules: [{user: bob, class: bulk}]\n"), "rules[0].user: \"bob\" is nobody this file knows"},
	{"misspells a setting in the environment", func(t *testing.T, w *workshop) ([]string, func() string) {
		t.Setenv("WITH", "MPSOCKS_LOG_LEVLE=debug")
		return []string{"client", "-c", w.ClientFile}, nil
	}, "MPSOCKS_LOG_LEVLE: unknown environment variable, did you mean MPSOCKS_LOG_LEVEL?"},
	{"runs init twice", func(t *testing.T, w *workshop) ([]string, func() string) {
		return []string{"init", "--server", "203.0.113.5:7443", "--dir", w.Dir}, nil
	}, "is there already and was left alone; --force replaces it"},
	{"gives init a host without a port", func(t *testing.T, w *workshop) ([]string, func() string) {
		return []string{"init", "--server", "203.0.113.5", "--dir", t.TempDir()}, nil
	}, "is not HOST:PORT, the address at which clients reach the server"},
	{"adds a client twice", func(t *testing.T, w *workshop) ([]string, func() string) {
		return []string{"clients", "add", "here", "-c", w.ServerFile}, nil
	}, "there is a client \"here\" already; `mpsocks clients rotate here` gives it another key"},
	{"revokes a client that the file itself has", func(t *testing.T, w *workshop) ([]string, func() string) {
		return []string{"clients", "revoke", "here", "-c", w.ServerFile}, nil
	}, "change it there, then run mpsocks reload"},
	{"copies half of a link", func(t *testing.T, w *workshop) ([]string, func() string) {
		return []string{"init", "--link", "mpsocks://AQIDBAUGBwgJCgsMDQ4PEBES", "--dir", t.TempDir()}, nil
	}, "was it cut off?"},
	{"reloads what does not run", func(t *testing.T, w *workshop) ([]string, func() string) {
		return []string{"reload", "--admin", ports(t, 1)[0].String()}, nil
	}, "is it running, with admin:"},
	{"forgets to start the server, or its firewall", func(_ *testing.T, w *workshop) ([]string, func() string) { return nil, w.client() }, "connection refused"},
	{"forgets the client's key on the server", func(t *testing.T, w *workshop) ([]string, func() string) {
		other := &workshop{halves.Config{Dir: t.TempDir(), Tunnel: w.Tunnel, Socks: ports(t, 1)}, t}
		if err := other.Write(mpsocks); err != nil {
			t.Fatal(err)
		}
		trustServer(t, w.ClientFile, other.ClientFile)
		other.server()
		return nil, w.client()
	}, "do not work: the server does not know this client's key; no path is left, and programs wait"},
	{"gives the client another server's key", func(t *testing.T, w *workshop) ([]string, func() string) {
		other := &workshop{halves.Config{Dir: t.TempDir(), Tunnel: w.Tunnel, Socks: ports(t, 1)}, t}
		if err := other.Write(mpsocks); err != nil {
			t.Fatal(err)
		}
		other.server()
		return nil, w.client()
	}, "do not work: TLS: the server's key differs; no path is left, and programs wait"},
	{"points the client at a port where something else answers", func(t *testing.T, w *workshop) ([]string, func() string) {
		l, err := net.Listen("tcp", w.Tunnel.String())
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				fmt.Fprint(c, "HTTP/1.1 400 Bad Request\r\n\r\n")
				c.Close()
			}
		}()
		t.Cleanup(func() { l.Close(); <-done })
		return nil, w.client()
	}, "the server does not speak TLS: is it the right port?"},
	{"swaps the keys of the halves", func(t *testing.T, w *workshop) ([]string, func() string) {
		mine, theirs := lineOf(t, w.ClientFile, "private_key:"), lineOf(t, w.ServerFile, "private_key:")
		w.edit(w.ClientFile, func(s string) string { return strings.Replace(s, mine, theirs, 1) })
		w.edit(w.ServerFile, func(s string) string { return strings.Replace(s, theirs, mine, 1) })
		return []string{"server", "-c", w.ServerFile}, nil
	}, "clients[0].public_key: is this server's own key, not the client's"},
	{"gives the server its client's private key", func(t *testing.T, w *workshop) ([]string, func() string) {
		w.edit(w.ServerFile, func(s string) string { return strings.Replace(s, "public_key:", "private_key:", 1) })
		return []string{"check", "-c", w.ServerFile}, nil
	}, "clients[0].private_key: stays with the client: give its public_key"},
	{"lists paths as names alone", replaced("paths:\n", "paths:\n  - eth0\n"), `paths[0]: expected a section with keys of its own, as in {name: ..., bind: ...}, got "eth0"`},
	{"leaves a path without a name", replaced("  - {name: one, ", "  - {"), "paths[0].name: is missing"},
	{"takes another word for a key", replaced("bind: 127.0.0.1", "interface: eth0"), "paths[0].interface: unknown key; there are name, bind, subflows"},
	{"binds a path to a network", replaced("bind: 127.0.0.1", "bind: 192.168.1.0/24"), `"192.168.1.0/24" is no interface, glob of names, hardware address or local address`},
	{"writes a setting as the environment has it", added("MPSOCKS_LOG_LEVEL: debug\n"), "MPSOCKS_LOG_LEVEL: unknown key, did you mean log.level?"},
	{"takes a key of another proxy", added("socks_port: 1080\n"), "socks_port: unknown key; there are listen, users, allow_anonymous"},
	{"writes the server as one line", replaced("server:\n", "server: 203.0.113.5:7443\nrules:\n"), "server: expected a section with keys of its own, as in {addresses: ..., public_key: ...}"},
	{"listens at a port alone", replaced("listen:", "listen: 1080 #"), "listen: expected address:port, such as [127.0.0.1:1080], got 1080"},
	{"listens at a URL", replaced("listen:", `listen: ["socks5://127.0.0.1:1080"] #`), `"socks5://127.0.0.1:1080" is not address:port, such as 127.0.0.1:1080 or [::1]:1080`},
	{"gives admin a port alone", replaced("admin:", "admin: 9081 #"), "admin: expected address:port, such as [127.0.0.1:9081], got 9081"},
	{"names a port that there cannot be", replaced("addresses: [", `addresses: ["203.0.113.5:74430", `), "server.addresses[0]: the port has to be 1 to 65535"},
	{"forgets the space behind a colon", replaced("log: {", "mode:auto\nlog: {"), "needs a space behind mode:"},
	{"does not close a brace", added("udp: {offload: auto\n"), "cannot be read as yaml: line "},
	{"lists ports in a rule", added("rules: [{ports: [80, 443], class: bulk}]\n"), "rules[0].ports: expected one value, got a list"},
	{"writes ports with a comma in a rule", added("rules: [{ports: \"80,443\", class: bulk}]\n"), `"80,443" is neither a port (1 to 65535) nor a range such as 1000-2000`},
	{"names a host in a rule", added("rules: [{to: example.com, class: bulk}]\n"), `rules[0].to: "example.com" is neither an address nor a prefix`},
	{"invents a class", added("rules: [{ports: 53, class: fast}]\n"), `rules[0].class: "fast" is not one of latency, bulk, ordered, backup, metered`},
	{"forwards to a host without a port", added("forwards: [{listen: \"127.0.0.1:5353\", to: 9.9.9.9}]\n"), `forwards[0].to: "9.9.9.9" is not host:port`},
	{"writes a duration in words", added("session_timeout: 2 minutes\n"), `expected a duration such as 30s, 5m or 1h30m, got "2 minutes"`},
	{"writes a range of ports backwards", added("udp: {ports: 50000-40000}\n"), `udp.ports: "50000-40000" ends before it starts`},
	{"excludes a port from the device by its number", added("tun: {device: mps0, exclude: [22]}\n"), `tun.exclude[0]: "22" is none of 192.168.0.0/16, from:192.168.1.2, tcp:22`},
	{"gives the device too long a name", added("tun: {device: mpsocks-tunnel-device}\n"), "is no name of a network device: 1 to 15 letters and digits, such as mps0"},
	{"has a password that YAML takes for a number", added("users: [{name: ann, password: 1234}]\n"), "users[0].password: expected text, got 1234: put it in quotes"},
	{"writes users as a section", added("users: {ann: secret}\n"), "users: expected a list, as in - {name: ..., password: ...}, got a section"},
	{"gives the cover a URL", func(_ *testing.T, w *workshop) ([]string, func() string) {
		w.edit(w.ServerFile, func(s string) string { return s + "cover: {upstream: \"https://127.0.0.1:8443\"}\n" })
		return []string{"server", "-c", w.ServerFile}, nil
	}, `cover.upstream: "https://127.0.0.1:8443" is a URL: write host:port alone, without https://`},
	{"forgets the unit of the drain", func(_ *testing.T, w *workshop) ([]string, func() string) {
		w.edit(w.ServerFile, func(s string) string { return s + "drain: 30\n" })
		return []string{"server", "-c", w.ServerFile}, nil
	}, "drain: 30 needs a unit: 30s, 30m or 30h"},
	{"writes a client's rate as a provider does", func(_ *testing.T, w *workshop) ([]string, func() string) {
		w.edit(w.ServerFile, func(s string) string { return strings.Replace(s, "{name: here", "{rate: 200Mbps, name: here", 1) })
		return []string{"server", "-c", w.ServerFile}, nil
	}, `clients[0].rate: "200Mbps" needs a unit, such as 200Mbit`},
	{"allows a name", func(_ *testing.T, w *workshop) ([]string, func() string) {
		w.edit(w.ServerFile, func(s string) string { return strings.Replace(s, "relay:\n", "relay:\n  deny: [nas.local]\n", 1) })
		return []string{"server", "-c", w.ServerFile}, nil
	}, `relay.deny[0]: "nas.local" is neither an address nor a prefix`},
	{"gives probe a URL", func(_ *testing.T, w *workshop) ([]string, func() string) {
		return []string{"probe", "--proxy", "socks5://127.0.0.1:1080"}, nil
	}, "is not HOST:PORT, such as 127.0.0.1:1080"},
	{"takes a web page's address for a link", func(_ *testing.T, w *workshop) ([]string, func() string) {
		return []string{"init", "--link", "https://example.com", "--dir", w.Dir}, nil
	}, "the link does not begin with mpsocks://; `mpsocks clients add NAME --link` on the server's machine makes one"},
	{"runs nothing", func(_ *testing.T, w *workshop) ([]string, func() string) {
		return []string{"run", "-c", w.ClientFile}, nil
	}, "it is used as mpsocks run [-c FILE] [flags] -- PROGRAM"},
	{"enters the proxy as https:// in a program", func(t *testing.T, w *workshop) ([]string, func() string) {
		said := w.client()
		eventually(t, 20*time.Second, "the client listens", func() bool {
			c, err := net.DialTimeout("tcp", w.Socks[0].String(), time.Second)
			if err != nil {
				return false
			}
			defer c.Close()
			_, err = c.Write([]byte("\x16\x03\x01\x02\x00"))
			return err == nil
		})
		return nil, said
	}, "speaks TLS to the proxy at"},
	{"binds a path to an alias", replaced("bind: 127.0.0.1", `bind: "eth0:1"`), `"eth0:1" is no interface, glob of names, hardware address or local address`},
	{"weighs a path by a fraction", replaced("subflows: 1}", "subflows: 1, weight: 0.5}"), "paths[0].weight: expected a whole number, got 0.5"},
	{"asks for subflows in words", replaced("subflows: 1}", "subflows: all}"), `paths[0].subflows: "all" is neither auto nor a number`},
	{"names a day that no month has", replaced("subflows: 1}", "subflows: 1, monthly_cap: 1GB, billing_day: 32}"), "paths[0].billing_day: 32 is not between 1 and 31"},
	{"forgets a user's password", added("users: [{name: ann}]\n"), "users[0].password: has to have 1 to 255 bytes"},
	{"publishes a port alone", added("publish: [{listen: 25565, to: \"127.0.0.1:25565\"}]\n"), `publish[0].listen: "25565" is not address:port or address:from-to`},
	{"waits for a name that does not exist", func(_ *testing.T, w *workshop) ([]string, func() string) {
		w.edit(w.ClientFile, func(s string) string { return replaceLine(s, "  addresses:", `  addresses: ["tunnel.invalid:7443"]`) })
		return nil, w.client()
	}, "tunnel.invalid"},
}

// TestMistakes makes each mistake and looks for its line; docs/mistakes.md has them all.
func TestMistakes(t *testing.T) {
	var table strings.Builder
	table.WriteString("# What people get wrong, and the line that they get\n\nEach row is made, and its line looked for, by TestMistakes in integration/e2e.\n\n| somebody | gets |\n|---|---|\n")
	for _, m := range people {
		fmt.Fprintf(&table, "| %s | %s |\n", m.what, strings.ReplaceAll(m.line, "|", "\\|"))
		t.Run(m.what, func(t *testing.T) {
			w := &workshop{halves.Config{Dir: t.TempDir(), Tunnel: ports(t, 1)[0], Socks: ports(t, 1), Paths: halves.TwoPaths(), Allow: []string{"127.0.0.0/8"}}, t}
			if err := w.Write(mpsocks); err != nil {
				t.Fatal(err)
			}
			args, said := m.do(t, w)
			if said != nil {
				eventually(t, 20*time.Second, fmt.Sprintf("%q is said", m.line), func() bool { return strings.Contains(said(), m.line) })
				return
			}
			cmd := exec.Command(mpsocks, args...)
			cmd.Env = append(os.Environ(), os.Getenv("WITH"))
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), m.line) {
				t.Errorf("%v says (%v):\n%s", args, err, out)
			}
			if n := strings.Count(strings.TrimSpace(string(out)), "\n"); n > 1 {
				t.Errorf("%d lines:\n%s", n+1, out)
			}
		})
	}
	if len(people) < 25 {
		t.Errorf("only %d mistakes", len(people))
	}
	file := filepath.Join("..", "..", "docs", "mistakes.md")
	if *updateMistakes {
		if err := os.WriteFile(file, []byte(table.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := read(t, file); got != table.String() {
		t.Errorf("%s is not the table: run go test ./integration/e2e -run Mistakes -update", file)
	}
}
