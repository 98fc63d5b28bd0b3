package admin

import (
	"bytes"
	"strings"
	"testing"

	"github.com/rs/zerolog"
)

// What net/http has to say of a connection that somebody makes is for debugging, and in the log's
// form: it went to the standard error as it was.
func TestNoiseOfConnectionsIsDebug(t *testing.T) {
	var said bytes.Buffer
	s, err := Listen(Config{Half: "client", Version: "v1", Status: aStatus, Log: zerolog.New(&said)})
	if err != nil {
		t.Fatal(err)
	}
	if s.server.ErrorLog == nil {
		t.Fatal("it goes to the standard error")
	}
	said.Reset()
	s.server.ErrorLog.Print("http: panic serving 192.0.2.1:9: nothing")
	if line := said.String(); !strings.HasPrefix(line, `{"level":"debug","http":"http: panic serving 192.0.2.1:9: nothing"`) {
		t.Errorf("the log: %q", line)
	}
}
