package carrier

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"testing"
	"time"
)

// TestAHandshakeIsShort: a ClientHello of 64 KiB is not read to its end, which would hold that much
// for everybody who has a place; hushed, what was read is there for the web server, to the byte.
func TestAHandshakeIsShort(t *testing.T) {
	for _, hushed := range []bool{false, true} {
		here, there := net.Pipe()
		k := NewTLS(here, 0)
		if hushed {
			k.Hush()
		}
		// Records of the handshake, 1 KiB each; the first has the head of a ClientHello.
		said, done := 0, make(chan struct{})
		go func() {
			defer close(done)
			record := append([]byte{22, 3, 1, 4, 0, 1, 0, 0xFF, 0xFF}, bytes.Repeat([]byte{7}, 1020)...)
			_ = there.SetDeadline(time.Now().Add(20 * time.Second))
			for range 60 {
				n, err := there.Write(record)
				if said += n; err != nil {
					return
				}
				record = append([]byte{22, 3, 1, 4, 0}, bytes.Repeat([]byte{7}, 1024)...)
			}
		}()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		err := k.Server(ctx, &tls.Config{})
		heard := k.Heard()
		here.Close()
		<-done
		cancel()
		if err == nil || said > mostTalk+firstRead {
			t.Errorf("hushed %v: %d bytes are taken, %v", hushed, said, err)
		}
		if hushed && len(heard) != said {
			t.Errorf("%d bytes are left to the web server of %d", len(heard), said)
		}
	}
}
