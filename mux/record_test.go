package mux

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/mux/engine"
)

// A real session is recorded, with datagrams, a stream, a subflow that dies and an end in
// order, into a file of its owner's alone; run again, the engine answers the same to the
// byte.
func TestRecordOfASession(t *testing.T) {
	_, ck, _ := ed25519.GenerateKey(nil)
	_, sk, _ := ed25519.GenerateKey(nil)
	n := &loopTunnel{
		t: t, near: newCollector(), far: newCollector(), serverSession: make(chan *Session, 16),
		key: ck, serverKey: sk, addr: netip.MustParseAddrPort("127.0.0.1:0"),
	}
	n.far.serve = func(st *Stream) { io.Copy(st, st) }
	n.listen(n.listenerConfig())
	defer func() { n.stopL(); <-n.listenerDone }()
	cc := ClientConfig{
		Key: ck, ServerKey: sk.Public().(ed25519.PublicKey), Handler: n.near, Addresses: []string{n.addr.String()},
		Log: zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.WarnLevel),
	}
	for i := range 2 {
		cc.Paths = append(cc.Paths, Path{Name: fmt.Sprint("path", i), Local: netip.AddrFrom4([4]byte{127, 0, 0, byte(i + 1)}), Subflows: 2})
	}
	var err error
	if n.client, err = NewClient(cc); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "record")
	if err := n.client.Record(file); err != nil {
		t.Fatal(err)
	}
	if _, err := newRecording(file, zerolog.Nop()); err == nil {
		t.Error("a file that is there is written over")
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); n.client.Run(ctx) }()
	n.waitSubflows(4)
	n.send(500, 5000, 400, func(i int) {
		if i == 250 {
			n.client.Session().core.connections()[0].carrier.Close()
		}
	})
	st, err := n.client.Session().OpenStream(t.Context(), netip.MustParseAddrPort("192.0.2.7:4000"), netip.MustParseAddrPort("192.0.2.1:80"))
	if err != nil {
		t.Fatal(err)
	}
	st.SetDeadline(time.Now().Add(20 * time.Second))
	go func() { st.Write(make([]byte, 200_000)); st.CloseWrite() }()
	if got, err := io.Copy(io.Discard, st); got != 200_000 || err != nil {
		t.Errorf("%d bytes came back, %v", got, err)
	}
	st.Close()
	n.far.wait(t, 500)
	stop()
	<-ended

	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the record's mode: %v, %v", info.Mode(), err)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if lines, err := engine.Replay(f); err != nil || lines < 1000 {
		t.Errorf("after %d lines: %v", lines, err)
	}
}
