package server

import (
	"testing"

	"github.com/mpsocks/mpsocks/status"
)

// A CONNECT is shown with what it is to; one that is over has no program, and is not shown when
// nothing moves any more.
func TestConnectsThatAreOver(t *testing.T) {
	asked := map[string]string{"198.18.0.2:40000": "example.com:443"}
	s := status.Status{Programs: []status.Program{
		{Client: "a", Proto: "tcp", App: "198.18.0.2:40000", To: exitAt, Key: "1"},
		{Client: "a", Proto: "tcp", App: "198.18.0.2:40001", To: exitAt, Key: "2"},
		{Client: "a", Proto: "tcp", App: "198.18.0.2:40002", To: exitAt, Key: "3", RecvBPS: 1},
		{Client: "a", Proto: "udp", App: "198.18.0.2:40000", To: "192.0.2.1:53", Key: "4"},
	}}
	for i := range s.Programs {
		leadsTo(&s.Programs[i], asked)
	}
	s.TidyPrograms()
	if len(s.Programs) != 3 || s.Programs[0].Key != "3" || s.Programs[1].To != "example.com:443" || s.Programs[2].Key != "4" {
		t.Errorf("%+v", s.Programs)
	}
}
