// Package halves builds mpsocks, configures both of its halves for one machine
// and runs them as processes, through the documented command line only. The
// bench and the end-to-end tests start everything with it.
package halves

import (
	"bufio"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/mpsocks/mpsocks/admin"
	"github.com/mpsocks/mpsocks/mux/muxtest"
)

// A Path is one way of the client to the server.
type Path struct {
	Name     string
	Bind     string // local address or interface
	Subflows int
}

// TwoPaths is the bench's setting: two subflows on two loopback addresses.
func TwoPaths() []Path {
	return []Path{{"one", "127.0.0.1", 1}, {"two", "127.0.0.2", 1}}
}

// Config is what a pair of configuration files says beyond the defaults.
type Config struct {
	Dir     string           // where the files are; made when missing
	Socks   []netip.AddrPort // SOCKS listeners; the first is the pair's own
	Tunnel  netip.AddrPort   // where the server listens for subflows
	Reach   []string         // where the client looks for it; empty: Tunnel
	Paths   []Path
	Allow   []string // the server's relay.allow
	Publish []string // what the server lets the client publish
	Admin   bool     // whether both halves get an admin address
	Client  string   // further YAML for the client, whole top-level keys
	Server  string   // the same for the server
	Verbose bool     // log level debug

	// User and Password are of a user that Client names, if it names any.
	User, Password string

	// Set by Write.
	ClientFile, ServerFile   string
	ClientAdmin, ServerAdmin string // host:port, empty without Admin
}

// Write runs `mpsocks init` for fresh keys and writes both files anew around
// them.
func (c *Config) Write(bin string) error {
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return err
	}
	initialize := exec.Command(bin, "init", "--server", c.Tunnel.String(), "--dir", c.Dir)
	initialize.Env = environment()
	out, err := initialize.CombinedOutput()
	if err != nil {
		return fmt.Errorf("mpsocks init: %w: %s", err, out)
	}
	c.ClientFile, c.ServerFile = filepath.Join(c.Dir, "client.yaml"), filepath.Join(c.Dir, "server.yaml")
	client, err := keys(c.ClientFile)
	if err != nil {
		return err
	}
	server, err := keys(c.ServerFile)
	if err != nil {
		return err
	}
	if c.Admin {
		free, err := FreePorts(2)
		if err != nil {
			return err
		}
		c.ClientAdmin, c.ServerAdmin = free[0].String(), free[1].String()
	}
	if err := os.WriteFile(c.ClientFile, []byte(c.client(client)), 0o600); err != nil {
		return err
	}
	return os.WriteFile(c.ServerFile, []byte(c.server(server)), 0o600)
}

// keyPair is what a fresh file says about keys: its own private one and the
// other side's public one.
type keyPair struct{ private, public string }

func (c *Config) client(k keyPair) string {
	var b strings.Builder
	var listen []string
	for _, a := range c.Socks {
		listen = append(listen, fmt.Sprintf("%q", a.String()))
	}
	reach := c.Reach
	if len(reach) == 0 {
		reach = []string{c.Tunnel.String()}
	}
	fmt.Fprintf(&b, "listen: [%s]\n", strings.Join(listen, ", "))
	fmt.Fprintf(&b, "private_key: %s\n", k.private)
	fmt.Fprintf(&b, "server:\n  addresses: [\"%s\"]\n  public_key: %s\n", strings.Join(reach, "\", \""), k.public)
	if len(c.Paths) > 0 {
		fmt.Fprintf(&b, "paths:\n")
	}
	for _, p := range c.Paths {
		fmt.Fprintf(&b, "  - {name: %s, bind: %s, subflows: %d}\n", p.Name, p.Bind, p.Subflows)
	}
	fmt.Fprintf(&b, "admin: %q\nstate_dir: %q\npprof: true\n", c.ClientAdmin, c.stateDir())
	fmt.Fprintf(&b, "log: {level: %s, format: console}\n%s", c.level(), c.Client)
	return b.String()
}

func (c *Config) server(k keyPair) string {
	var b strings.Builder
	var allow []string
	for _, a := range c.Allow {
		allow = append(allow, fmt.Sprintf("%q", a))
	}
	fmt.Fprintf(&b, "listen: [%q]\n", c.Tunnel.String())
	fmt.Fprintf(&b, "private_key: %s\n", k.private)
	fmt.Fprintf(&b, "clients:\n  - {name: here, public_key: %s, publish: [%s]}\n", k.public, strings.Join(c.Publish, ", "))
	fmt.Fprintf(&b, "relay:\n  allow: [%s]\n", strings.Join(allow, ", "))
	fmt.Fprintf(&b, "admin: %q\nstate_dir: %q\npprof: true\n", c.ServerAdmin, c.stateDir())
	fmt.Fprintf(&b, "log: {level: %s, format: console}\n%s", c.level(), c.Server)
	return b.String()
}

// stateDir is of the pair alone, so that no test meets what another one kept.
func (c *Config) stateDir() string {
	dir, err := filepath.Abs(filepath.Join(c.Dir, "state"))
	if err != nil {
		return filepath.Join(c.Dir, "state")
	}
	return dir
}

// Token is what the admin addresses ask for.
func (c *Config) Token() (string, error) { return admin.ReadToken(c.stateDir()) }

// Get asks one of the admin addresses, with the token.
func (c *Config) Get(address, path string) (*http.Response, error) {
	token, err := c.Token()
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequest(http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	return http.DefaultClient.Do(req)
}

func (c *Config) level() string {
	if c.Verbose {
		return "debug"
	}
	return "info"
}

// keys finds the two keys of a fresh file: each name stands there once outside
// comments, whatever the file looks like around it.
func keys(file string) (k keyPair, err error) {
	f, err := os.Open(file)
	if err != nil {
		return k, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line, _, _ := strings.Cut(lines.Text(), "#")
		if v, ok := value(line, "private_key:"); ok {
			k.private = v
		}
		if v, ok := value(line, "public_key:"); ok {
			k.public = v
		}
	}
	if k.private == "" || k.public == "" {
		return k, fmt.Errorf("%s has no private_key or no public_key", file)
	}
	return k, lines.Err()
}

func value(line, name string) (string, bool) {
	_, rest, ok := strings.Cut(line, name)
	if !ok {
		return "", false
	}
	rest, _, _ = strings.Cut(rest, "}")
	rest, _, _ = strings.Cut(rest, ",")
	return strings.Trim(strings.TrimSpace(rest), `"'`), true
}

// FreePorts finds n loopback addresses whose TCP and UDP ports nobody uses at
// the moment. It gives none twice.
func FreePorts(n int) ([]netip.AddrPort, error) {
	found := make([]netip.AddrPort, n)
	for i := range found {
		port, err := muxtest.FreePort()
		if err != nil {
			return nil, err
		}
		found[i] = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
	}
	return found, nil
}
