package web

import (
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mpsocks/mpsocks/integration/loads"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestDownload(t *testing.T) {
	s, err := NewServer(loads.Here{}, netip.MustParseAddr("127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r, err := s.Download(t.Context(), loads.Route{Place: loads.Here{}}, loads.Streams{Name: "h3", Warmup: 200 * time.Millisecond, Duration: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%.0f Mbit/s", r.Goodput)
	if r.Goodput < 50 || r.Bytes < 5e6 {
		t.Errorf("%+v", r)
	}
}
