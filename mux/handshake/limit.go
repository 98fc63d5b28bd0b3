package handshake

import (
	"io"
	"strings"

	"github.com/mpsocks/mpsocks/mux/mptcp"
)

// probeLimit is the type of the MP_EXPERIMENTAL that names, in ASCII, the limit by which
// a server refuses a subflow. It comes behind the MP_TCPRST that refuses: who does not
// know it has read enough by then.
const probeLimit = 7

// RefuseFull tells the peer by MP_TCPRST that there is no room for now, and by which limit:
// a name of at most mptcp.MaxExperimental bytes.
func RefuseFull(w io.Writer, limit string) error {
	b := (&mptcp.Reset{Transient: true, Reason: mptcp.ReasonResources}).Append(nil)
	x := mptcp.Experimental{Type: probeLimit}
	x.SetPayload([]byte(limit))
	_, err := w.Write(x.Append(b))
	return err
}

// readLimit reads which limit an MP_TCPRST was for; "" if the server does not say. The
// server closes the connection behind it.
func readLimit(r io.Reader) string {
	var o mptcp.Option
	if err := readOption(r, &o); err != nil || o.Subtype != mptcp.MPExperimental || o.Experimental.Type != probeLimit {
		return ""
	}
	name := string(o.Experimental.Payload())
	odd := func(r rune) bool { return r != '_' && r != '.' && (r < 'a' || r > 'z') }
	if strings.ContainsFunc(name, odd) {
		return ""
	}
	return name
}
