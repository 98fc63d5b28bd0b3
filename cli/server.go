package cli

import (
	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/mpsocks/mpsocks/admin"
	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/server"
	"github.com/mpsocks/mpsocks/status"
)

// newServer is `mpsocks server`: the half that faces the internet.
func newServer() *cobra.Command {
	var file, captureFile string
	cmd := &cobra.Command{
		Use:   "server -c FILE",
		Short: "Run the server: the far end of the tunnel, on a host with a public address",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := conf.LoadServer(file)
			if err != nil {
				return err
			}
			log, events := newLogger(cfg.Log, cmd.ErrOrStderr())
			kept := *cfg
			keepState(&kept.StateDir, log)
			capture, err := openCapture(captureFile, status.Server)
			if err != nil {
				return err
			}
			s, err := server.New(&kept, log, capture.Capture, handed(log)...)
			if err != nil {
				return err
			}
			log.Info().Strs("listen", texts(s.Addrs())).Int("clients", len(cfg.Clients)).
				Str("key", cfg.PrivateKey.Public().String()).Str("version", version()).Msg("server started")
			for _, line := range cfg.Doubts() {
				log.Warn().Str("why", line).Msg("configuration: not all of it holds")
			}
			if len(cfg.Clients) == 0 {
				log.Warn().Msg("nobody may connect yet: `mpsocks clients add NAME` adds a client")
			}
			return runHalf(cmd.Context(), serverHalf(s, cfg, file, log, admin.Config{StateDir: kept.StateDir, Events: events}), capture)
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", "server.yaml", "configuration file")
	cmd.Flags().StringVar(&captureFile, "capture", "", "write a pcapng capture of the tunnel to this file")
	return cmd
}

// serverHalf is a server that can be told to reload and to drain.
func serverHalf(s *server.Server, cfg *conf.Server, file string, log zerolog.Logger, serve admin.Config) *half {
	serve.Half, serve.Pprof = status.Server, cfg.Pprof
	of := func(cfg *conf.Server) rest {
		return rest{admin: cfg.Admin, level: cfg.Log.Level, drain: cfg.Drain, doubts: cfg.Doubts()}
	}
	return &half{end: s, file: file, log: log, admin: serve, rest: of(cfg), drain: s.Drain, renew: func() (renewal, error) {
		next, err := conf.ReloadServer(file, cfg)
		if err != nil {
			return renewal{}, err
		}
		changes := conf.DiffServer(cfg, next)
		conf.KeepServer(cfg, next)
		return renewal{changes: changes, rest: of(next), apply: func() error { return s.Apply(next) }, done: func() { cfg = next }}, nil
	}}
}
