package cli

import (
	"fmt"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/mpsocks/mpsocks/admin"
	"github.com/mpsocks/mpsocks/client"
	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/status"
)

// newClient is `mpsocks client`: the half beside the applications.
func newClient() *cobra.Command {
	var file, captureFile, recordFile string
	cmd := &cobra.Command{
		Use:   "client -c FILE",
		Short: "Run the client: SOCKS5 for your programs, several paths to the server",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := conf.LoadClient(file)
			if err != nil {
				return err
			}
			log, events := newLogger(cfg.Log, cmd.ErrOrStderr())
			kept := *cfg
			keepState(&kept.StateDir, log)
			capture, err := openCapture(captureFile, status.Client)
			if err != nil {
				return err
			}
			if cfg.TUN.Device == "" {
				client.TidyRouting(log)
			}
			c, err := client.New(&kept, log, capture.Capture, handed(log)...)
			if err != nil {
				return err
			}
			if recordFile != "" {
				if err := c.Record(recordFile); err != nil {
					return err
				}
			}
			log.Info().Strs("socks5", texts(c.Addrs())).Strs("server", cfg.Server.Addresses).
				Str("key", cfg.PrivateKey.Public().String()).Str("version", version()).Msg("client started")
			return runHalf(cmd.Context(), clientHalf(c, cfg, file, log, admin.Config{StateDir: kept.StateDir, Events: events}), capture)
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", "client.yaml", "configuration file")
	cmd.Flags().StringVar(&captureFile, "capture", "", "write a pcapng capture of the tunnel to this file")
	cmd.Flags().StringVar(&recordFile, "record", "", "write what the tunnel decides, and why, to this file, for those who look for a fault; it has the headers of all packets")
	return cmd
}

// clientHalf is a client that can be told to reload.
func clientHalf(c *client.Client, cfg *conf.Client, file string, log zerolog.Logger, serve admin.Config) *half {
	serve.Half, serve.Pprof = status.Client, cfg.Pprof
	serve.Controls = admin.Controls{PausePath: c.PausePath, SetBackup: c.SetBackup, SetMetered: c.SetMetered, ClassFlow: c.ClassFlow}
	of := func(cfg *conf.Client) rest { return rest{admin: cfg.Admin, level: cfg.Log.Level} }
	return &half{end: c, file: file, log: log, admin: serve, rest: of(cfg), renew: func() (renewal, error) {
		next, err := conf.LoadClient(file)
		if err != nil {
			return renewal{}, err
		}
		changes := conf.DiffClient(cfg, next)
		conf.KeepClient(cfg, next)
		return renewal{changes: changes, rest: of(next), apply: func() error { return c.Apply(next) }, done: func() { cfg = next }}, nil
	}}
}

// tunnelOnly takes from a configuration all by which something could come to the client but
// by this process, here or at the server, so that it can run beside another one.
func tunnelOnly(c *conf.Client) {
	c.Listen, c.Forwards, c.Publish, c.Admin, c.RunSocket = nil, nil, nil, nil, "off"
	c.Redirect, c.TUN = conf.Redirect{}, conf.TUN{}
}

// texts writes addresses for a log line.
func texts[T fmt.Stringer](addrs []T) []string {
	out := make([]string, len(addrs))
	for i, a := range addrs {
		out[i] = a.String()
	}
	return out
}
