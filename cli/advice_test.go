package cli

import (
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/mpsocks/mpsocks/mux/errno"
)

// What to do about an error is said once: not where the error says it itself, whatever its words are.
func TestAdviceIsGivenOnce(t *testing.T) {
	denied := &os.PathError{Op: "open", Path: "client.yaml", Err: syscall.EACCES}
	bind := &net.OpError{Op: "listen", Net: "tcp", Err: os.NewSyscallError("bind", errno.AddrInUse)}
	for _, c := range []struct {
		err  error
		want string // behind the error's own text
	}{
		{os.ErrDeadlineExceeded, ""},
		{denied, ": run as the file's owner, or as root"},
		{errno.Advise(denied, "touch it"), ""},
		{fmt.Errorf("tun: %w", errno.Advise(syscall.EPERM, "it needs a privilege")), ""},
		{bind, ": another program, or another mpsocks, has this port; stop it, or choose another port in the configuration"},
		{fmt.Errorf("client: %w", errno.AdviseBind(bind)), ""},
		{os.NewSyscallError("bind", errno.AddrNotAvail), ": this machine does not have the address; `mpsocks check` shows where it is used"},
		{&net.OpError{Op: "listen", Err: os.NewSyscallError("bind", errno.Access)}, ": run as root or with CAP_NET_BIND_SERVICE, or choose another port"},
	} {
		if got := advise(c.err).Error(); got != c.err.Error()+c.want {
			t.Errorf("%v becomes %q", c.err, got)
		}
	}
}
