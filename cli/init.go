package cli

import (
	"bufio"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/status"
)

// The files that init writes, and `run` with its own addresses.
var (
	//go:embed client.yaml.tmpl
	clientText string
	//go:embed server.yaml.tmpl
	serverText string
)

// pair is what the two files are made from; the keys fit each other.
type pair struct {
	Name                 string // of the client
	Server               string // host:port as clients reach it
	ServerListen         string
	SOCKS                string
	ClientAdmin          string // "" is off
	ServerAdmin          string
	Paths                []conf.Path // none leaves an example in a comment
	Allow                []string
	ClientKey, ServerKey conf.PrivateKey
	ServerKeys           []conf.PublicKey // for the client; none is that of ServerKey
	Addresses            []string         // of the server, for the client; none is Server
	Cover                conf.RemoteCover // the server's
}

// defaultPair has what init and clients write without being told.
func defaultPair() pair {
	return pair{SOCKS: "127.0.0.1:1080", ClientAdmin: defaultAdmins[status.Client].String(), ServerAdmin: defaultAdmins[status.Server].String()}
}

// newInit is `mpsocks init`: both files, ready to run, or the client's from a link.
func newInit() *cobra.Command {
	var dir, link string
	var force bool
	p := defaultPair()
	cmd := &cobra.Command{
		Use:   "init --server HOST:PORT | --link LINK",
		Short: "Write server.yaml and client.yaml with fresh keys, or client.yaml from a link",
		Long: `Write server.yaml and client.yaml with fresh keys, ready to run, for a server that
clients reach at HOST:PORT. With --link write client.yaml alone, from the link that
"mpsocks clients add NAME --link" has made on the server's machine; "-" reads the
link from the standard input, which keeps it out of the shell's history.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if link != "" {
				return initFromLink(cmd, link, dir, force)
			}
			if !isHostPort(p.Server) {
				return notServer(p.Server)
			}
			if p.Name == "" {
				return errors.New("--name is empty: give the client one, such as laptop")
			}
			host, port, _ := net.SplitHostPort(p.Server)
			// One socket on [::] serves both families; a host that is known
			// by an IPv4 address may have no other.
			p.ServerListen = net.JoinHostPort("::", port)
			if a, err := netip.ParseAddr(host); err == nil && a.Unmap().Is4() {
				p.ServerListen = net.JoinHostPort("0.0.0.0", port)
			}
			server, client, err := p.write(dir, force)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), `wrote %s and %s

On the server:     mpsocks server -c server.yaml     (copy %[1]s there)
On this machine:   mpsocks client -c %[2]s
Then:              curl --socks5-hostname %[3]s https://example.com/
A second device:   mpsocks clients add NAME          (on the server)
`, server, client, p.SOCKS)
			return err
		},
	}
	cmd.Flags().StringVar(&p.Server, "server", "", "HOST:PORT at which clients reach the server")
	cmd.Flags().StringVar(&link, "link", "", "the link of a client, or - to read it from the standard input")
	cmd.Flags().StringVar(&dir, "dir", ".", "directory for the files")
	cmd.Flags().StringVar(&p.Name, "name", "laptop", "the client's name in the server's logs and status")
	cmd.Flags().BoolVar(&force, "force", false, "replace the files if they are there; their keys are lost")
	cmd.MarkFlagsOneRequired("server", "link")
	cmd.MarkFlagsMutuallyExclusive("server", "link")
	cmd.MarkFlagsMutuallyExclusive("name", "link")
	return cmd
}

// isHostPort says whether a text is HOST:PORT.
func isHostPort(text string) bool {
	host, port, err := net.SplitHostPort(text)
	n, bad := strconv.ParseUint(port, 10, 16)
	return err == nil && host != "" && bad == nil && n > 0
}

// notServer says that a text cannot be the address of a server.
func notServer(text string) error {
	return fmt.Errorf("--server %q is not HOST:PORT, the address at which clients reach the server, such as 203.0.113.5:7443", text)
}

// initFromLink writes client.yaml from a link.
func initFromLink(cmd *cobra.Command, text, dir string, force bool) error {
	if text == "-" {
		line, err := bufio.NewReader(io.LimitReader(cmd.InOrStdin(), 1<<16)).ReadString('\n')
		if err != nil && line == "" {
			return fmt.Errorf("no link on the standard input: %w", err)
		}
		text = line
	}
	l, err := conf.ParseLink(text)
	if err != nil {
		return err
	}
	p := defaultPair()
	p.link(l)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	client := filepath.Join(dir, "client.yaml")
	if err := p.writeClient(client, force); err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "wrote %s\n\nRun:    mpsocks client -c %[1]s     (or for good: mpsocks service install client -c %[1]s)\nThen:   curl --socks5-hostname %[2]s https://example.com/\n", client, p.SOCKS)
	return err
}

// link takes a client's part from a link.
func (p *pair) link(l *conf.Link) {
	p.Name, p.ClientKey, p.Addresses, p.ServerKeys = l.Name, l.Key, l.Addresses, l.Servers
	p.Cover = l.Cover
}

// writeClient writes the client's file alone, mode 0600.
func (p *pair) writeClient(file string, force bool) error {
	body, err := fill(clientText, p)
	if err != nil {
		return err
	}
	return existing(file, conf.WriteSecret(file, body, force))
}

// write makes the keys and writes both files, mode 0600, or neither.
func (p *pair) write(dir string, force bool) (server, client string, err error) {
	if p.ServerKey, err = conf.Generate(); err != nil {
		return "", "", err
	}
	if p.ClientKey, err = conf.Generate(); err != nil {
		return "", "", err
	}
	p.Addresses, p.ServerKeys = []string{p.Server}, []conf.PublicKey{p.ServerKey.Public()}
	if err := p.validate(); err != nil {
		return "", "", err
	}
	serverBody, err := fill(serverText, p)
	if err != nil {
		return "", "", err
	}
	clientBody, err := fill(clientText, p)
	if err != nil {
		return "", "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", "", err
	}
	server, client = filepath.Join(dir, "server.yaml"), filepath.Join(dir, "client.yaml")
	if !force {
		if _, err := os.Lstat(client); err == nil {
			return "", "", existing(client, fs.ErrExist)
		}
	}
	if err := conf.WriteSecret(server, serverBody, force); err != nil {
		return "", "", existing(server, err)
	}
	if err := conf.WriteSecret(client, clientBody, force); err != nil {
		if !force {
			os.Remove(server) // it fits no client now
		}
		return "", "", existing(client, err)
	}
	return server, client, nil
}

// validate refuses what would make files that do not load.
func (p *pair) validate() error {
	client, server := conf.DefaultClient(), conf.DefaultServer()
	client.PrivateKey, server.PrivateKey = p.ClientKey, p.ServerKey
	client.Server = conf.Remote{Addresses: []string{p.Server}, PublicKey: p.ServerKey.Public()}
	server.Clients = []conf.Peer{{Name: p.Name, PublicKey: p.ClientKey.Public()}}
	return errors.Join(client.Validate(), server.Validate())
}

// fill writes a file of pair's from its text.
func fill(text string, p *pair) ([]byte, error) {
	words := map[string]string{
		"name": strconv.Quote(p.Name), "socks": strconv.Quote(p.SOCKS),
		"reach": strconv.Quote(p.Server), "listen": strconv.Quote(p.ServerListen),
		"client_admin": strconv.Quote(p.ClientAdmin), "server_admin": strconv.Quote(p.ServerAdmin),
		"client_private": p.ClientKey.Text(), "client_public": p.ClientKey.Public().String(),
		"server_private": p.ServerKey.Text(), "server_public": p.ServerKey.Public().String(),
		"remote": p.remote(), "paths": p.ways(), "allow": quoted(p.Allow),
	}
	var err error
	body := os.Expand(text, func(word string) string {
		value, ok := words[word]
		if !ok {
			err = fmt.Errorf("the file's text has a ${%s} that is not known", word)
		}
		return value
	})
	return []byte(body), err
}

// remote has the lines of the client's server, without the first one.
func (p *pair) remote() string {
	var b strings.Builder
	fmt.Fprintf(&b, "  addresses: %s\n", quoted(p.Addresses))
	if len(p.ServerKeys) == 1 {
		fmt.Fprintf(&b, "  public_key: %s", p.ServerKeys[0])
	} else {
		keys := make([]string, len(p.ServerKeys))
		for i, k := range p.ServerKeys {
			keys[i] = k.String()
		}
		fmt.Fprintf(&b, "  public_keys: [%s]", strings.Join(keys, ", "))
	}
	if p.Cover.ServerName != "" || len(p.Cover.ALPN) > 0 {
		fmt.Fprintf(&b, `
  # What others see of the connections; the server has the same.
  cover:
    server_name: %q
    alpn: %s`, p.Cover.ServerName, quoted(p.Cover.ALPN))
	}
	return b.String()
}

// ways has the client's paths, or an example in a comment.
func (p *pair) ways() string {
	if len(p.Paths) == 0 {
		return `paths: []
#  - {name: dsl, bind: eth0}
#  - {name: lte, bind: wwan0, metered: true, monthly_cap: 10GiB}`
	}
	lines := "paths:"
	for _, path := range p.Paths {
		lines += fmt.Sprintf("\n  - {name: %s, bind: %s, subflows: %d}", path.Name, path.Bind, path.Subflows)
	}
	return lines
}

// quoted is a list of YAML.
func quoted(words []string) string {
	all := make([]string, len(words))
	for i, w := range words {
		all[i] = strconv.Quote(w)
	}
	return "[" + strings.Join(all, ", ") + "]"
}

// existing says what to do about a file that is in the way.
func existing(path string, err error) error {
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already and was left alone; --force replaces it", path)
	}
	return err
}

// loopbackPaths are two paths to this machine itself. Only Linux and Windows
// have all of 127.0.0.0/8; elsewhere both start at the one address there is.
func loopbackPaths() []conf.Path {
	second := "127.0.0.2"
	if runtime.GOOS != "linux" && runtime.GOOS != "windows" {
		second = "127.0.0.1"
	}
	return []conf.Path{{Name: "one", Bind: "127.0.0.1", Subflows: 1}, {Name: "two", Bind: second, Subflows: 1}}
}
