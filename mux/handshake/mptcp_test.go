package handshake

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/mux/mptcp"
)

const (
	hsClientKey mptcp.Key = 0x0102030405060708
	hsServerKey mptcp.Key = 0x1122334455667788
)

// A hsPeer is the other side as a script: whenever its answers are used up, the
// next step sees all that was written so far and gives further bytes.
type hsPeer struct {
	sent  bytes.Buffer
	in    bytes.Buffer
	steps []func(sent []byte) []byte
}

func (p *hsPeer) Write(b []byte) (int, error) { return p.sent.Write(b) }

func (p *hsPeer) Read(b []byte) (int, error) {
	for p.in.Len() == 0 {
		if len(p.steps) == 0 {
			return 0, io.EOF
		}
		p.in.Write(p.steps[0](p.sent.Bytes()))
		p.steps = p.steps[1:]
	}
	return p.in.Read(b)
}

// hsSay is a step that does not depend on what was written.
func hsSay(o ...interface{ Append([]byte) []byte }) func([]byte) []byte {
	return func([]byte) (b []byte) {
		for _, o := range o {
			b = o.Append(b)
		}
		return b
	}
}

// hsData is what follows a handshake in the same stream, at once.
type hsData string

func (d hsData) Append(b []byte) []byte { return append(b, d...) }

const hsTrailer = hsData("the first frame")

func (p *hsPeer) checkTrailer(t *testing.T) {
	t.Helper()
	if rest := p.in.String(); rest != string(hsTrailer) {
		t.Errorf("the handshake left %q in the stream, want %q", rest, hsTrailer)
	}
}

func hsHex(t *testing.T, name string, got []byte, want string) {
	t.Helper()
	if hex.EncodeToString(got) != want {
		t.Errorf("%s:\n%x, want\n%s", name, got, want)
	}
}

func TestCapableClient(t *testing.T) {
	for _, c := range []struct {
		ours   bool
		theirs uint8
		want   Result
		sent   string
	}{
		{
			false, mptcp.FlagSHA256,
			Result{Remote: hsServerKey},
			"1e040101" + "1e14010101020304050607081122334455667788",
		},
		{
			true, mptcp.FlagSHA256,
			Result{Remote: hsServerKey, Checksum: true},
			"1e040181" + "1e14018101020304050607081122334455667788",
		},
		{
			false, mptcp.FlagSHA256 | mptcp.FlagChecksum | mptcp.FlagDenyJoin,
			Result{Remote: hsServerKey, Checksum: true, DenyJoin: true},
			"1e040101" + "1e14018101020304050607081122334455667788",
		},
	} {
		reply := mptcp.Capable{Phase: mptcp.PhaseSYNACK, Version: 1, Flags: c.theirs, Sender: hsServerKey}
		p := &hsPeer{steps: []func([]byte) []byte{hsSay(&reply, hsTrailer)}}
		got, err := Capable(p, hsClientKey, c.ours)
		if err != nil || got != c.want {
			t.Errorf("%+v, %v; want %+v", got, err, c.want)
		}
		hsHex(t, "sent", p.sent.Bytes(), c.sent)
		p.checkTrailer(t)
	}
}

func TestCapableServer(t *testing.T) {
	for _, c := range []struct {
		asked    uint8
		denyJoin bool
		want     Result
		sent     string
	}{
		{mptcp.FlagSHA256, false, Result{Remote: hsClientKey}, "1e0c01011122334455667788"},
		{mptcp.FlagSHA256, true, Result{Remote: hsClientKey}, "1e0c01211122334455667788"},
		{
			mptcp.FlagSHA256 | mptcp.FlagChecksum | mptcp.FlagDenyJoin, false,
			Result{Remote: hsClientKey, Checksum: true, DenyJoin: true},
			"1e0c01811122334455667788",
		},
	} {
		ack := mptcp.Capable{Phase: mptcp.PhaseACK, Version: 1, Flags: c.asked, Sender: hsClientKey, Receiver: hsServerKey}
		p := &hsPeer{steps: []func([]byte) []byte{
			hsSay(&mptcp.Capable{Version: 1, Flags: c.asked}, &ack, hsTrailer),
		}}
		first, err := ReadFirst(p)
		if err != nil || first.Subtype != mptcp.MPCapable {
			t.Fatalf("readFirst: %+v, %v", first, err)
		}
		got, err := AcceptCapable(p, &first, hsServerKey, c.denyJoin)
		if err != nil || got != c.want {
			t.Errorf("%+v, %v; want %+v", got, err, c.want)
		}
		hsHex(t, "sent", p.sent.Bytes(), c.sent)
		p.checkTrailer(t)
	}
}

// hsNonce reads the nonce out of a join's first or second message.
func hsNonce(b []byte) uint32 {
	var o mptcp.Option
	if _, err := o.Parse(b, false); err != nil {
		panic(err)
	}
	return o.Join.Nonce
}

func TestJoinClient(t *testing.T) {
	const theirs = 0x1a1b1c1d
	p := &hsPeer{steps: []func([]byte) []byte{
		func(sent []byte) []byte {
			syn := mptcp.Join{Phase: mptcp.PhaseSYNACK, AddrID: 3, Backup: true, Nonce: theirs}
			proof := mptcp.JoinHMAC(hsServerKey, hsClientKey, theirs, hsNonce(sent))
			copy(syn.HMAC[:8], proof[:])
			return syn.Append(nil)
		},
		hsSay(&mptcp.DSS{HasAck: true, Ack8: true, Ack: 1 << 50}, hsTrailer),
	}}
	if err := Join(p, Params{Local: hsClientKey, Remote: hsServerKey, AddrID: 7, Backup: true}); err != nil {
		t.Fatal(err)
	}
	sent := p.sent.Bytes()
	mine := hsNonce(sent)
	want := mptcp.Join{Backup: true, AddrID: 7, Token: hsServerKey.Token(), Nonce: mine}
	ack := mptcp.Join{Phase: mptcp.PhaseACK}
	proof := mptcp.JoinHMAC(hsClientKey, hsServerKey, mine, theirs)
	copy(ack.HMAC[:], proof[:])
	hsHex(t, "sent", sent, hex.EncodeToString(ack.Append(want.Append(nil))))
	p.checkTrailer(t)
}

func TestJoinServer(t *testing.T) {
	const theirs = 0x0a0b0c0d
	for _, key := range []mptcp.Key{hsClientKey, hsClientKey + 1} {
		p := &hsPeer{steps: []func([]byte) []byte{
			hsSay(&mptcp.Join{Token: hsServerKey.Token(), Nonce: theirs, AddrID: 9, Backup: true}),
			func(sent []byte) []byte {
				ack := mptcp.Join{Phase: mptcp.PhaseACK}
				proof := mptcp.JoinHMAC(key, hsServerKey, theirs, hsNonce(sent))
				copy(ack.HMAC[:], proof[:])
				return hsTrailer.Append(ack.Append(nil))
			},
		}}
		first, err := ReadFirst(p)
		if err != nil || first.Join.Token != hsServerKey.Token() || first.Join.AddrID != 9 || !first.Join.Backup {
			t.Fatalf("readFirst: %+v, %v", first.Join, err)
		}
		err = AcceptJoin(p, &first, Params{Local: hsServerKey, Remote: hsClientKey, AddrID: 2, Ack: 1 << 50})
		p.checkTrailer(t)
		syn := mptcp.Join{Phase: mptcp.PhaseSYNACK, AddrID: 2, Nonce: hsNonce(p.sent.Bytes())}
		proof := mptcp.JoinHMAC(hsServerKey, hsClientKey, syn.Nonce, theirs)
		copy(syn.HMAC[:8], proof[:])
		if key == hsClientKey {
			if err != nil {
				t.Error(err)
			}
			hsHex(t, "sent", p.sent.Bytes(), hex.EncodeToString(syn.Append(nil))+"1e0c20030004000000000000")
			continue
		}
		if _, ok := errors.AsType[ProtocolError](err); !ok {
			t.Errorf("a client with a wrong HMAC: %v", err)
		}
		hsHex(t, "sent", p.sent.Bytes(), hex.EncodeToString(syn.Append(nil))+"1e048003")
	}
}

// Both real sides, over a pipe, with every combination of flags.
func TestHandshakeBothSides(t *testing.T) {
	run := func(t *testing.T, client, server func(rw io.ReadWriter) error) (cerr, serr error) {
		a, b := net.Pipe()
		defer a.Close()
		for _, c := range []net.Conn{a, b} {
			_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer b.Close()
			serr = server(b)
		}()
		cerr = client(a)
		<-done
		return cerr, serr
	}
	for i := range 4 {
		checksum, deny := i&1 != 0, i&2 != 0
		t.Run(fmt.Sprintf("capable/checksum=%v/deny=%v", checksum, deny), func(t *testing.T) {
			var cr, sr Result
			cerr, serr := run(t, func(rw io.ReadWriter) (err error) {
				cr, err = Capable(rw, hsClientKey, checksum)
				return err
			}, func(rw io.ReadWriter) error {
				first, err := ReadFirst(rw)
				if err != nil {
					return err
				}
				sr, err = AcceptCapable(rw, &first, hsServerKey, deny)
				return err
			})
			if cerr != nil || serr != nil {
				t.Fatalf("client: %v, server: %v", cerr, serr)
			}
			if (cr != Result{hsServerKey, checksum, deny}) || (sr != Result{hsClientKey, checksum, false}) {
				t.Errorf("client %+v, server %+v", cr, sr)
			}
		})
	}
	join := func(t *testing.T, client Params, server func(rw io.ReadWriter, first *mptcp.Option) error) (cerr, serr error) {
		return run(t, func(rw io.ReadWriter) error { return Join(rw, client) }, func(rw io.ReadWriter) error {
			first, err := ReadFirst(rw)
			if err != nil {
				return err
			}
			return server(rw, &first)
		})
	}
	good := Params{Local: hsClientKey, Remote: hsServerKey}
	accept := func(rw io.ReadWriter, first *mptcp.Option) error {
		return AcceptJoin(rw, first, Params{Local: hsServerKey, Remote: hsClientKey})
	}
	t.Run("join", func(t *testing.T) {
		if cerr, serr := join(t, good, accept); cerr != nil || serr != nil {
			t.Errorf("client: %v, server: %v", cerr, serr)
		}
	})
	for _, c := range []struct {
		name   string
		client Params
		server func(rw io.ReadWriter, first *mptcp.Option) error
		want   ResetError
	}{
		{"unknown token", good, func(rw io.ReadWriter, _ *mptcp.Option) error {
			return Refuse(rw, mptcp.ReasonMPTCP)
		}, ResetError{Reason: mptcp.ReasonMPTCP}},
		{"prohibited", good, func(rw io.ReadWriter, _ *mptcp.Option) error {
			return Refuse(rw, mptcp.ReasonProhibited)
		}, ResetError{Reason: mptcp.ReasonProhibited}},
		{"no room", good, func(rw io.ReadWriter, _ *mptcp.Option) error {
			return RefuseTransient(rw, mptcp.ReasonResources)
		}, ResetError{Reason: mptcp.ReasonResources, Transient: true}},
		{"full, and by which limit", good, func(rw io.ReadWriter, _ *mptcp.Option) error {
			return RefuseFull(rw, "limits.sessions_per_client")
		}, ResetError{Reason: mptcp.ReasonResources, Transient: true, Limit: "limits.sessions_per_client"}},
		{"full, and by a limit that is no name", good, func(rw io.ReadWriter, _ *mptcp.Option) error {
			return RefuseFull(rw, "\x1b[31m limits")
		}, ResetError{Reason: mptcp.ReasonResources, Transient: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cerr, serr := join(t, c.client, c.server)
			got, ok := errors.AsType[*ResetError](cerr)
			if !ok || *got != c.want || serr != nil {
				t.Errorf("client: %v, server: %v; want %v", cerr, serr, &c.want)
			}
		})
	}
	t.Run("server that does not know the keys", func(t *testing.T) {
		cerr, serr := join(t, good, func(rw io.ReadWriter, first *mptcp.Option) error {
			return AcceptJoin(rw, first, Params{Local: hsServerKey, Remote: hsClientKey + 1})
		})
		if _, ok := errors.AsType[ProtocolError](cerr); !ok {
			t.Errorf("client: %v", cerr)
		}
		if e, ok := errors.AsType[*ResetError](serr); !ok || e.Reason != mptcp.ReasonProhibited {
			t.Errorf("server: %v", serr)
		}
	})
}
