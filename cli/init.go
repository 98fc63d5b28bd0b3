package cli

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"text/template"

	"github.com/spf13/cobra"

	"github.com/mpsocks/mpsocks/conf"
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
}

// newInit is `mpsocks init`: both files, ready to run.
func newInit() *cobra.Command {
	var dir string
	var force bool
	p := pair{SOCKS: "127.0.0.1:1080", ClientAdmin: "127.0.0.1:9081", ServerAdmin: "127.0.0.1:9082"}
	cmd := &cobra.Command{
		Use:   "init --server HOST:PORT",
		Short: "Write server.yaml and client.yaml with fresh keys, ready to run",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			host, port, err := net.SplitHostPort(p.Server)
			if n, bad := strconv.ParseUint(port, 10, 16); err != nil || host == "" || bad != nil || n == 0 {
				return fmt.Errorf("--server %q is not HOST:PORT, the address at which clients reach the server, such as 203.0.113.5:7443", p.Server)
			}
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
`, server, client, p.SOCKS)
			return err
		},
	}
	cmd.Flags().StringVar(&p.Server, "server", "", "HOST:PORT at which clients reach the server")
	cmd.Flags().StringVar(&dir, "dir", ".", "directory for the files")
	cmd.Flags().StringVar(&p.Name, "name", "laptop", "the client's name in the server's logs and status")
	cmd.Flags().BoolVar(&force, "force", false, "replace the files if they are there; their keys are lost")
	cmd.MarkFlagRequired("server")
	return cmd
}

// write makes the keys and writes both files, mode 0600, or neither.
func (p *pair) write(dir string, force bool) (server, client string, err error) {
	if p.ServerKey, err = conf.Generate(); err != nil {
		return "", "", err
	}
	if p.ClientKey, err = conf.Generate(); err != nil {
		return "", "", err
	}
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

func fill(text string, p *pair) ([]byte, error) {
	t, err := template.New("").Funcs(template.FuncMap{"quote": strconv.Quote}).Parse(text)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = t.Execute(&out, p)
	return out.Bytes(), err
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
