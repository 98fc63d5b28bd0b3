package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/kardianos/service"
	"github.com/spf13/cobra"

	"github.com/mpsocks/mpsocks/conf"
)

// newService is `mpsocks service`: a half that starts with the machine.
func newService() *cobra.Command {
	cmd := &cobra.Command{
		Use:        "service",
		SuggestFor: []string{"start", "stop", "restart", "enable", "disable", "install", "uninstall"},
		Short:      "Have the system run a client or a server, from now on and after every start",
		Args:       cobra.NoArgs,
		RunE:       func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newServiceInstall(), newServiceUninstall(), newServiceStatus())
	return cmd
}

// kinds are what can be a service.
var kinds = []string{string(conf.KindClient), string(conf.KindServer)}

func kindArgs(cmd *cobra.Command, args []string) error {
	if len(args) != 1 || args[0] != kinds[0] && args[0] != kinds[1] {
		return fmt.Errorf("say which half: %s client, or %s server", cmd.CommandPath(), cmd.CommandPath())
	}
	return nil
}

func newServiceInstall() *cobra.Command {
	var file string
	var force bool
	cmd := &cobra.Command{
		Use:   "install client|server -c FILE",
		Short: "Write and start the service of a half",
		Long: `Write and start the service of a half. On Linux with systemd the configuration is
put into ` + systemDir + `, where root and the service's user "mpsocks" can read it, and
the hardened unit of the Debian package is used; elsewhere (launchd, Windows, other
managers) the file stays where it is. It is checked first.`,
		Args:      kindArgs,
		ValidArgs: kinds,
		RunE: func(cmd *cobra.Command, args []string) error {
			s := &system{kind: conf.Kind(args[0]), out: cmd.OutOrStdout()}
			if file == "" {
				file = args[0] + ".yaml"
				if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
					file = filepath.Join(systemDir, file)
				}
			}
			return s.install(file, force)
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", "", "configuration file; without it client.yaml or server.yaml here or in "+systemDir)
	cmd.Flags().BoolVar(&force, "force", false, "replace another configuration in "+systemDir)
	return cmd
}

func newServiceUninstall() *cobra.Command {
	return &cobra.Command{
		Use:       "uninstall client|server",
		Short:     "Stop the service of a half and take it away; its configuration stays",
		Args:      kindArgs,
		ValidArgs: kinds,
		RunE: func(cmd *cobra.Command, args []string) error {
			return (&system{kind: conf.Kind(args[0]), out: cmd.OutOrStdout()}).uninstall()
		},
	}
}

func newServiceStatus() *cobra.Command {
	return &cobra.Command{
		Use:       "status client|server",
		Short:     "Say whether the service of a half is there and runs; exit code 1 if not",
		Args:      kindArgs,
		ValidArgs: kinds,
		RunE: func(cmd *cobra.Command, args []string) error {
			said, err := (&system{kind: conf.Kind(args[0]), out: cmd.OutOrStdout()}).status()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), said)
			return err
		},
	}
}

// A system is the service of one half on this machine.
type system struct {
	kind conf.Kind
	out  io.Writer
}

// name is the service's.
func (s *system) name() string { return serviceName(string(s.kind)) }

// serviceName is what the service manager calls a half.
func serviceName(half string) string { return "mpsocks-" + half }

// load checks the file: a service that cannot start helps nobody.
func (s *system) load(file string) error {
	if s.kind == conf.KindClient {
		_, err := conf.LoadClient(file)
		return err
	}
	_, err := conf.LoadServer(file)
	return err
}

// manager is the machine's service manager, by kardianos/service.
func (s *system) manager(file, unit string) (service.Service, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	description := map[conf.Kind]string{
		conf.KindClient: "mpsocks client, a SOCKS5 proxy over several network paths",
		conf.KindServer: "mpsocks server, the far end of the tunnel",
	}[s.kind]
	c := &service.Config{
		Name: s.name(), DisplayName: s.name(), Description: description,
		Executable: self, Arguments: []string{string(s.kind), "-c", file},
		Option: service.KeyValue{"OnFailure": "restart", "KeepAlive": true, "RunAtLoad": true},
	}
	if unit != "" {
		c.Option["SystemdScript"] = unit
	}
	m, err := service.New(idle{}, c)
	if err != nil {
		return nil, fmt.Errorf("this system has no service manager that is known (%w): run mpsocks %s from its start scripts", err, s.kind)
	}
	return m, nil
}

// idle is what kardianos/service would run in this process; installing runs nothing.
type idle struct{}

func (idle) Start(service.Service) error { return nil }
func (idle) Stop(service.Service) error  { return nil }

// install writes and starts the service.
func (s *system) install(file string, force bool) error {
	file, err := filepath.Abs(file)
	if err != nil {
		return err
	}
	if err := s.load(file); err != nil {
		return err
	}
	if hasSystemd() {
		return s.installSystemd(file, force)
	}
	m, err := s.manager(file, "")
	if err != nil {
		return err
	}
	if err := m.Install(); err != nil {
		return fmt.Errorf("install %s: %w", s.name(), err)
	}
	if err := m.Start(); err != nil {
		return fmt.Errorf("start %s: %w", s.name(), err)
	}
	_, err = fmt.Fprintf(s.out, "%s runs with %s, now and after every start\n", s.name(), file)
	return err
}

// uninstall stops the service and takes it away.
func (s *system) uninstall() error {
	if hasSystemd() {
		return s.uninstallSystemd()
	}
	m, err := s.manager("", "")
	if err != nil {
		return err
	}
	_ = m.Stop() // it may have ended
	if err := m.Uninstall(); err != nil {
		return fmt.Errorf("uninstall %s: %w", s.name(), err)
	}
	_, err = fmt.Fprintf(s.out, "%s is gone; its configuration is where it was\n", s.name())
	return err
}

// status says how the service is; one that does not run is an error.
func (s *system) status() (string, error) {
	if hasSystemd() {
		return s.statusSystemd()
	}
	m, err := s.manager("", "")
	if err != nil {
		return "", err
	}
	st, err := m.Status()
	switch {
	case errors.Is(err, service.ErrNotInstalled):
		return "", fmt.Errorf("%s is not installed: mpsocks service install %s -c FILE", s.name(), s.kind)
	case err != nil:
		return "", fmt.Errorf("%s: %w", s.name(), err)
	case st != service.StatusRunning:
		return "", fmt.Errorf("%s is installed and does not run", s.name())
	}
	return s.name() + " runs", nil
}

// place copies a file to where the service reads it, unless the same is there.
func place(from, to string, force bool, give func(path string) error) (copied bool, err error) {
	if from == to {
		return false, give(to)
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return false, err
	}
	if there, err := os.ReadFile(to); err == nil {
		if bytes.Equal(there, data) {
			return false, give(to)
		}
		if !force {
			return false, fmt.Errorf("%s is there already and is another one: --force replaces it, or leave -c out to use it", to)
		}
	}
	if err := conf.WriteSecret(to, data, true); err != nil {
		return false, err
	}
	return true, give(to)
}
