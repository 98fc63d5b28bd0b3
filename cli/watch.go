package cli

import (
	"context"
	"io"

	"github.com/mpsocks/mpsocks/admin"
	"github.com/mpsocks/mpsocks/status"
)

func watchStatus(ctx context.Context, clients []*admin.Client, states []*status.Status, out io.Writer) error {
	return nil
}
