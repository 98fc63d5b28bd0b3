package paths

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// watchLinks pokes events when an interface, an address or a route changes, until ctx ends
// or the routing socket does not work: then the error says so.
func watchLinks(ctx context.Context, events chan<- struct{}) error {
	fd, err := unix.Socket(unix.AF_ROUTE, unix.SOCK_RAW, unix.AF_UNSPEC)
	if err != nil {
		return fmt.Errorf("routing socket: %w", err)
	}
	unix.CloseOnExec(fd)
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return fmt.Errorf("routing socket: %w", err)
	}
	f := os.NewFile(uintptr(fd), "routing socket")
	defer f.Close()
	defer context.AfterFunc(ctx, func() { f.SetReadDeadline(time.Unix(1, 0)) })()
	poke(events) // what was missed
	b := make([]byte, 16<<10)
	for {
		n, err := f.Read(b)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil { // ENOBUFS, say: something may have been missed
			return fmt.Errorf("routing socket: %w", err)
		}
		if tellsChange(b[:n]) {
			poke(events)
		}
	}
}
