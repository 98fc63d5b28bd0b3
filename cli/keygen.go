package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/mpsocks/mpsocks/conf"
)

// newKeygen is `mpsocks keygen`: one key pair.
func newKeygen() *cobra.Command {
	var file string
	var force bool
	cmd := &cobra.Command{
		Use:   "keygen",
		Short: "Make one key pair",
		Long: `Make one Ed25519 key pair and print it as two lines of configuration. The
private key belongs into the file of one half, the public key into the other's.
With --out the private key goes into a file that only you can read, for
private_key_file, and only the public one is printed.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			key, err := conf.Generate()
			if err != nil {
				return err
			}
			if file != "" {
				if err := conf.WriteSecret(file, []byte(key.Text()+"\n"), force); err != nil {
					return existing(file, err)
				}
			} else {
				fmt.Fprintln(cmd.OutOrStdout(), "private_key:", key.Text())
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), "public_key:", key.Public())
			return err
		},
	}
	cmd.Flags().StringVar(&file, "out", "", "write the private key to this file, mode 0600")
	cmd.Flags().BoolVar(&force, "force", false, "replace the file if it is there")
	return cmd
}
