package admission

import (
	"net"
	"testing"

	"github.com/mpsocks/mpsocks/conf"
)

// TestAUserHereHasOneLine: whoever guesses from this machine has all of 127.0.0.0/8 to do so from.
func TestAUserHereHasOneLine(t *testing.T) {
	c := New(t.Context(), nopLog, []conf.User{{Name: "ann", Password: "secret"}}, 0)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for _, from := range []string{"127.0.0.1", "127.0.0.2", "127.3.2.1"} {
		_, there := knock(t, ln, from)
		c.Login(there, []byte(from), []byte("guess"))
	}
	wrong := 0
	for l, s := range c.guesses.lines {
		if l.user == "" {
			wrong = max(wrong, s.wrong)
		}
	}
	if wrong != 3 {
		t.Errorf("%d of 3 guesses are one user's", wrong)
	}
}
