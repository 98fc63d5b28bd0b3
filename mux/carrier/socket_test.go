package carrier

import (
	"crypto/tls"
	"errors"
	"net"
	"testing"

	"github.com/mpsocks/mpsocks/mux/muxtest"
)

// rekeyed is the server's end of a connection after its handshake, and the peer's: its socket, who
// makes its records of new keys, and its TLS.
func rekeyed(t *testing.T) (k *TLS, near net.Conn, r *muxtest.Rekeyer, peer *tls.Conn) {
	t.Helper()
	near, far := muxtest.Sockets(t)
	client, server := muxtest.Configs(t)
	k = NewTLS(far, 16<<10)
	done := make(chan error, 1)
	go func() { done <- k.Server(t.Context(), server) }()
	r = muxtest.NewRekeyer(near)
	peer, err := r.Client(client)
	if err != nil {
		t.Skip(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	k.Start()
	return k, near, r, peer
}

// A record that does not come whole, or that carries no data, holds no more than itself while the
// rest is waited for.
func TestHalfARecordHoldsItself(t *testing.T) {
	k, near, r, _ := rekeyed(t)
	record := r.KeyUpdates(1, nil)
	for i, part := range [][]byte{record[:3], record[3:9], record[9:]} {
		if _, err := near.Write(part); err != nil {
			t.Fatal(err)
		}
		enough := errors.New("enough")
		err := k.Receive(func() error {
			if p, err := k.Next(); len(p) != 0 || !errors.Is(err, ErrNotYet) {
				t.Errorf("%d bytes of it: %d, %v", len(part), len(p), err)
			}
			return enough
		}, nil)
		if err != enough {
			t.Fatal(err)
		}
		if in := &k.sock.intake; in.buf != nil || i == 2 && in.kept != nil {
			t.Errorf("after %d bytes a buffer is held", len(part))
		}
	}
	if !k.sock.rekey.Load() {
		t.Error("the KeyUpdate was not heard")
	}
}

// Who waits for its turn within the handshake, with more than a hello that was read, holds
// no buffer of a subflow's size.
func TestWhoWaitsForItsTurnHoldsLittle(t *testing.T) {
	near, far := muxtest.Sockets(t)
	if _, err := near.Write(make([]byte, 3*firstRead)); err != nil {
		t.Fatal(err)
	}
	k := newSocket(far)
	got := 0
	for b := make([]byte, 100); got < 3*firstRead; {
		n, err := k.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		if got += n; len(k.in) > firstRead {
			t.Fatalf("after %d bytes a buffer of %d is held", got, len(k.in))
		}
	}
	if k.in != nil {
		t.Error("a buffer is held when all is read")
	}
}

// What was read and waits for its turn is charged as it is held, not as what little of it may be
// data.
func TestWhatWaitsForItsTurnIsCharged(t *testing.T) {
	k, near, r, _ := rekeyed(t)
	if _, err := near.Write(r.KeyUpdates(1, nil)); err != nil {
		t.Fatal(err)
	}
	enough := errors.New("enough")
	err := k.Receive(func() error {
		if n := k.Held(); n < MostRead {
			t.Errorf("a reader with a buffer of %d bytes is charged %d", MostRead, n)
		}
		_, _ = k.Next()
		return enough
	}, nil)
	if err != enough {
		t.Fatal(err)
	}
	if n := k.Held(); n >= MostRead {
		t.Errorf("one that waits for the other end is charged %d bytes", n)
	}
}
