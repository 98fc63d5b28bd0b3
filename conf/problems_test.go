package conf

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// good is the least that a client's file needs.
const good = `
private_key: AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=
server: {addresses: ["192.0.2.1:7443"], public_key: PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw=}
`

// goodServer is the least that a server's file needs.
const goodServer = `
private_key: ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=
clients: [{name: a, public_key: ebVWLo/mVPlAeLES6KmLp5AfhTrmlb7X4OORC60ElmQ=}]
`

func TestProblems(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       []string
	}{
		{"good", good, nil},
		{"good server", goodServer, nil},
		{"empty sections keep the defaults", good + "log:\nlimits: {}\nusers:\npaths: []", nil},
		{"unknown keys, at any depth, empty ones too", good + "lisen: []\nmodus:\nlogg: {}\nlog: {levle: info}\npaths: [{name: a, bnd: eth0}, {name: b, colour: red}]", []string{
			"lisen: unknown key, did you mean listen?",
			"log.levle: unknown key, did you mean log.level?",
			"logg: unknown key, did you mean log?",
			"modus: unknown key, did you mean mode?",
			"paths[0].bnd: unknown key, did you mean paths[0].bind?",
			"paths[1].colour: unknown key; there are name, bind, subflows, backup, metered, kernel_mptcp, weight, daily_cap, monthly_cap, billing_day",
		}},
		{"unknown keys beside wrong values", good + "modus: auto\nmode: 5\npaths: [{name: 7, bnd: eth0}]", []string{
			"modus: unknown key, did you mean mode?",
			"paths[0].bnd: unknown key, did you mean paths[0].bind?",
			"paths[0].name: expected text, got 7: put it in quotes",
			"mode: expected text, got 5: put it in quotes",
		}},
		{"tun", good + "tun: {device: mps0, exclude: [11.0.0.0/8, tcp, \"user:9-5\", \"cgroup:../a\", \"port:\", \"\"]}", []string{
			`tun.exclude[1]: "tcp": a port is missing`,
			`tun.exclude[2]: "user:9-5": 9-5 is no range of user IDs`,
			`tun.exclude[3]: "cgroup:../a": "../a" is not a control group, such as system.slice/chrony.service`,
			`tun.exclude[4]: "port:": a port is missing`,
			`tun.exclude[5]: "" is none of 192.168.0.0/16, from:192.168.1.2, tcp:22, udp:123, port:53, service:22, user:backup, user:1000-1999 or cgroup:system.slice/x.service`,
		}},
		{"tun, as a whole", good + "tun: {device: a/b, addresses: [127.0.0.1, 10.0.0.1, 10.0.0.2], mtu: 500, routes: [10.0.0.0/8, 10.0.0.0/8, 11.0.0.0/8], exclude: [11.0.0.0/8], when_down: open}\npaths: [{name: x, bind: a*}]", []string{
			`tun.when_down: "open" is not one of stop, around`,
			"tun.mtu: 500 is not between 1280 and 65535",
			`tun.device: "a/b" is no name of a network device: 1 to 15 letters and digits, such as mps0`,
			"tun.addresses[0]: 127.0.0.1 is no address for a device",
			"tun.addresses[1]: 10.0.0.1 is a second address of its family",
			"tun.addresses[2]: 10.0.0.2 is a second address of its family",
			"tun.routes[1]: 10.0.0.0/8 is there twice",
			"tun.routes[2]: 11.0.0.0/8 is in tun.exclude too",
		}},
		{"a path into the tunnel", good + "tun: {device: mps0}\npaths: [{name: x, bind: mps*}]\nrules: [{user: tun, class: bulk}]", []string{
			"paths[0].bind: mps* means mps0, the device of tun, which leads into the tunnel",
		}},
		{"a key in the wrong room", good + "level: debug", []string{"level: unknown key, did you mean log.level?"}},
		{"dotted keys are not nested keys", good + "log.level: debug", []string{"log.level: unknown key, did you mean log.level?"}},
		{"kinds", good + "log: info\nudp: [1]\nallow_anonymous: maybe\nmode: 5\nlisten: {a: b}\nlimits: {streams: 1.5, associations: many}\npaths: [eth0]", []string{
			"listen: expected address:port, such as [127.0.0.1:1080], got a section",
			`allow_anonymous: expected true or false, got "maybe"`,
			`paths[0]: expected a section with keys of its own, as in {name: ..., bind: ...}, got "eth0"`,
			"mode: expected text, got 5: put it in quotes",
			"udp: expected a section with keys of its own, as in {public_address: ..., ports: ...}, got a list",
			`limits.associations: expected a whole number, got "many"`,
			"limits.streams: expected a whole number, got 1.5",
			`log: expected a section with keys of its own, as in {level: ..., format: ...}, got "info"`,
		}},
		{"units", good + "session_timeout: 120\npaths: [{name: a, daily_cap: 100, monthly_cap: 1 apple, subflows: some}]", []string{
			"paths[0].subflows: \"some\" is neither auto nor a number",
			`paths[0].daily_cap: "100" needs a unit, such as 500MB or 10GiB`,
			`paths[0].monthly_cap: "1 apple" needs a unit, such as 500MB or 10GiB`,
			"session_timeout: 120 needs a unit: 120s, 120m or 120h",
		}},
		{"everything is missing", "users: []", []string{
			"private_key: is missing; `mpsocks keygen` makes a key pair, `mpsocks init` whole files",
			"server.addresses: needs the server's host:port",
			"server.public_key: is missing; the server prints it at start, and `mpsocks check` of the server's file too",
		}},
		{"listeners", good + `listen: ["0.0.0.0:1080", "127.0.0.1:1080", "127.0.0.1:1080", "here:80", "127.0.0.1:99999"]`, []string{
			`listen[3]: "here:80" is not address:port, such as 127.0.0.1:1080 or [::1]:1080`,
			`listen[4]: "127.0.0.1:99999" is not address:port, such as 127.0.0.1:1080 or [::1]:1080`,
			"listen[2]: 127.0.0.1:1080 is there twice",
			"listen[0]: 0.0.0.0:1080 lets everybody in who can reach it: give users, or set allow_anonymous: true",
		}},
		{"no listener", good + "listen: []", []string{"listen: needs an address, such as 127.0.0.1:1080"}},
		{"users", good + "allow_anonymous: true\nusers: [{name: a, password: b}, {name: a, password: ''}, {password: c}]", []string{
			"allow_anonymous: there are users too: leave one of them out",
			`users[1].name: "a" is there twice`,
			"users[1].password: has to have 1 to 255 bytes",
			"users[2].name: is missing",
		}},
		{"paths", good + "paths: [{name: a, bind: 0.0.0.0, weight: -1}, {name: a, subflows: 65}, {name: c, daily_cap: 2GB, monthly_cap: 1GB}]", []string{
			"paths[0].bind: 0.0.0.0 is not a local address",
			"paths[0].weight: -1 is not between 1 and 1000",
			`paths[1].name: "a" is there twice`,
			"paths[1].subflows: 65 is not between 1 and 64",
			"paths[2].daily_cap: 2GB is over monthly_cap (1GB)",
		}},
		{"rules", good + "mode: fast\nrules: [{class: bulk}, {user: eve, class: turbo, ports: 9-1, dscp: 64, to: 10.1.0.0/8}]", []string{
			`rules[1].to: "10.1.0.0/8" has bits set behind the prefix: write 10.0.0.0/8`,
			`rules[1].ports: "9-1" ends before it starts`,
			`rules[1].dscp: "64" is over 63, the largest code point`,
			`mode: "fast" is not one of auto, aggregate, redundant, latency`,
			`rules[1].class: "turbo" is not one of latency, bulk, ordered, backup, metered`,
			`rules[1].user: "eve" is nobody this file knows`,
		}},
		{"rules behind one for all", good + "rules: [{class: bulk}, {class: latency, ports: 53}]", []string{
			"rules[1]: is never reached: rules[0] matches everything",
		}},
		{"a URL", good + `forwards: [{listen: "127.0.0.1:53", to: "https://example.com:443/"}]`, []string{
			`forwards[0].to: "https://example.com:443/" is a URL: write host:port alone, without https://`,
		}},
		{"forwards", good + `forwards: [{listen: "127.0.0.1:53", to: "host:0"}, {listen: "127.0.0.1:53", to: nowhere}, {to: "a b:1"}]`, []string{
			"forwards[0].to: the port has to be 1 to 65535",
			"forwards[1].listen: 127.0.0.1:53 is taken by forwards[0]",
			`forwards[1].to: "nowhere" is not host:port, such as example.com:443 or [2001:db8::1]:443`,
			"forwards[2].listen: is missing",
			`forwards[2].to: "a b" is neither a host name nor an address`,
		}},
		{"the rest", good + "limits: {streams: 5, streams_per_user: 6}\nudp: {offload: yes please, public_address: '::'}\nadmin: 127.0.0.1:1080\nlog: {level: inof, format: xml}\nsession_timeout: 1ms", []string{
			`udp.offload: "yes please" is not one of auto, off`,
			"udp.public_address: :: is not an address that applications can send to",
			"limits.streams_per_user: 6 is over limits.streams (5)",
			"admin: 127.0.0.1:1080 is taken by listen[0]",
			"session_timeout: 1ms is under 1s",
			`log.level: "inof" is not known, did you mean info? (one of trace, debug, info, warn, error)`,
			`log.format: "xml" is not one of auto, console, json`,
		}},
		{"keys", "private_key: hello\nprivate_key_file: k\nserver: {addresses: ['a:1', 'a:1'], public_key: AAAA}", []string{
			"private_key: is not base64; a key has 44 characters and ends in =",
			"server.public_key: has 3 bytes, a key has 32",
			"private_key_file: open DIR/k: no such file or directory",
			"server.addresses[1]: a:1 is there twice",
		}},
		{"server", goodServer + "listen: [':7443', {address: ':7443', kernel: true}, 5]\nbehind_load_balancer: true\nrelay: {idle_timeout: 1m, filtering: endpoint, allow: ['10.0.0.0/8', '1.2.3.4:0', '10.0.0.1:'], deny: [10.0.0.0/8]}\nlimits: {mappings: 0}", []string{
			"listen[1].kernel: unknown key; there are address, kernel_mptcp",
			"listen[2]: expected address:port, such as 127.0.0.1:1080, got 5",
			`relay.allow[1]: "0" is neither a port (1 to 65535) nor a range such as 1000-2000`,
			`relay.allow[2]: "10.0.0.1:" has a colon but no port`,
			"behind_load_balancer: needs advertise: without it no client could add a second subflow",
			"relay.idle_timeout: 1m0s is under 2m0s, the least that RFC 4787 allows",
			`relay.filtering: "endpoint" is not one of endpoint-independent, address-dependent, address-and-port-dependent`,
			"relay.deny[0]: 10.0.0.0/8 is relay.allow[0] too: leave one of them out",
			"limits.mappings: 0 is not between 1 and 16777216",
		}},
		{"a key with a letter that was copied wrongly", "private_key: AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=\nserver: {addresses: ['a:1'], public_key: AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=}", []string{
			"server.public_key: is no Ed25519 public key: a character was copied wrongly, or it is another kind of key",
		}},
		{"clients", "private_key: ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=\nclients: [{name: a, public_key: ebVWLo/mVPlAeLES6KmLp5AfhTrmlb7X4OORC60ElmQ=}, {name: a, public_key: ebVWLo/mVPlAeLES6KmLp5AfhTrmlb7X4OORC60ElmQ=}, {name: c}]", []string{
			`clients[1].name: "a" is there twice`,
			`clients[1].public_key: is the key of "a" too`,
			"clients[2].public_key: is missing; `mpsocks check` of the client's file prints it",
		}},
		{"neither", "listen: []", []string{"is neither a client's file (which has server: and listen:) nor a server's (which has clients:); `mpsocks init` writes both"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "c.yaml")
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Load(path)
			want := tt.want
			for i, w := range want {
				if w == "private_key_file: open DIR/k: no such file or directory" {
					want[i] = "private_key_file: open " + filepath.Join(dir, "k") + ": no such file or directory"
				}
			}
			if diff := cmp.Diff(want, lines(err, path)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWrongKind(t *testing.T) {
	path := filepath.Join(place(t), "client.yaml")
	_, err := LoadServer(path)
	if err == nil || err.Error() != path+": is a client's file, and a server's is needed; `mpsocks client` starts it" {
		t.Error(err)
	}
}

func TestUnreadable(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"a.yaml": "a: [", "b.json": "{", "c.toml": "x = ", "d.txt": "", "e.yaml": "a: 1\na: 2", "f.yaml": "- 1",
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(path); err == nil {
			t.Errorf("%s loads", name)
		}
	}
	if _, err := Load(dir); err == nil {
		t.Error("a directory loads")
	}
}

// What somebody means and does not write is said, and not passed over.
func TestMeantOtherwise(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct{ name, text, want string }{
		{"two.yaml", good + "\n---\nmode: latency\n", "line 5: a second document of YAML begins here"},
		{"one.yaml", "# comment\n---\n" + good, ""},
		{"home.yaml", good + "state_dir: ~/mpsocks\n", `state_dir: "~/mpsocks" is taken as it is`},
		{"variable.yaml", goodServer + "state_dir: $HOME/mpsocks\n", `state_dir: "$HOME/mpsocks" is taken as it is`},
		{"clients.yaml", goodServer + "clients_dir: ~/clients.d\n", `clients_dir: "~/clients.d" is taken as it is`},
		{"comma.json", "{\"listen\": [\"127.0.0.1:1080\"],\n \"mode\": \"auto\",\n}", "line 3: invalid character"},
		{"brackets.toml", "mode = \"auto\"\nlisten = [127.0.0.1:1080]\n", "line 2: "},
		{"secret.yaml", strings.Replace(goodServer, "{name: a, ", "{name: a, private_key: x, ", 1), "clients[0].private_key: stays with the client"},
		{"umlaut.yaml", strings.Replace(good, "192.0.2.1", "b\u00fccher.example", 1), "xn--"},
	} {
		path := filepath.Join(dir, tt.name)
		if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(path); (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}
