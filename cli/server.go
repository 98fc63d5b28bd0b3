package cli

import (
	"github.com/spf13/cobra"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/server"
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
			log := newLogger(cfg.Log, cmd.ErrOrStderr())
			capture, err := openCapture(captureFile)
			if err != nil {
				return err
			}
			s, err := server.New(cfg, log, capture)
			if err != nil {
				return err
			}
			log.Info().Strs("listen", texts(s.Addrs())).Int("clients", len(cfg.Clients)).
				Str("key", cfg.PrivateKey.Public().String()).Str("version", version()).Msg("server started")
			return runEnd(cmd.Context(), s, cfg.Admin, capture, log)
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", "server.yaml", "configuration file")
	cmd.Flags().StringVar(&captureFile, "capture", "", "write a pcapng capture of the tunnel to this file")
	return cmd
}
