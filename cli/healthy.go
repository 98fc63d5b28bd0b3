package cli

import (
	"errors"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/status"
)

// newHealthy is `mpsocks healthy`: for service managers and containers, which have no
// curl.
func newHealthy() *cobra.Command {
	var at locator
	cmd := &cobra.Command{
		Use:   "healthy",
		Short: "End with 0 if a client or server runs here and answers, else with 1 and a line",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			env := strings.FieldsFunc(os.Getenv(conf.EnvPrefix+"ADMIN"), func(r rune) bool { return r == ',' || r == ' ' })
			if len(env) > 0 && at.address == "" && at.file == "" {
				at.address = env[0]
			}
			all, err := at.find(status.Client, status.Server)
			if err != nil {
				return err
			}
			var failed error
			for _, c := range all {
				err := c.Healthy(cmd.Context())
				if err == nil {
					return nil
				}
				failed = errors.Join(failed, err)
			}
			return failed
		},
	}
	at.flags(cmd)
	return cmd
}
