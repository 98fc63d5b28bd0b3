package carrier

import (
	"bytes"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/mux/muxtest"
)

// unhex reads bytes as RFCs print them.
func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The client's first record of RFC 8448, Section 3.
func TestRecordOfRFC8448(t *testing.T) {
	secret := unhex(t, `9e 40 64 6c e7 9a 7f 9d c0 5a f8 88 9b ce 65 52 87 5a fa 0b 06 df 00 87 f7 92 eb b7 c1 75 04 a5`)
	want := unhex(t, `17 03 03 00 43 a2 3f 70 54 b6 2c 94 d0 af fa fe 82 28 ba 55 cb ef ac ea 42 f9 14 aa 66 bc ab 3f 2b
		98 19 a8 a5 b4 6b 39 5b d5 4a 9a 20 44 1e 2b 62 97 4e 1f 5a 62 92 a2 97 70 14 bd 1e 3d ea e6 3a ee bb 21 69 49 15 e4`)
	plain := make([]byte, 50, 51)
	for i := range plain {
		plain[i] = byte(i)
	}
	for _, over := range []bool{false, true} {
		p, err := newProtection(tls.TLS_AES_128_GCM_SHA256, secret, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.seal(nil, kindData, plain, over); !bytes.Equal(got, want) {
			t.Errorf("%x", got)
		}
		p, _ = newProtection(tls.TLS_AES_128_GCM_SHA256, secret, 0)
		if got, kind, err := p.open(bytes.Clone(want), nil); !bytes.Equal(got, plain) || kind != kindData || err != nil {
			t.Errorf("%x, %d, %v", got, kind, err)
		}
	}
}

// Each suite opens what it has sealed, over all lengths' edges and changes of keys, and nothing that was
// altered or comes out of turn.
func TestSuites(t *testing.T) {
	for id, s := range suites {
		secret := bytes.Repeat([]byte{7}, s.hash().Size())
		a, err := newProtection(id, secret, 5)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := newProtection(id, secret, 5)
		for _, n := range []int{0, 1, 15, 16, 1200, maxRecord} {
			plain := bytes.Repeat([]byte{byte(n), 0}, n)[:n:n]
			r := a.seal(nil, kindData, plain, false)
			if got, kind, err := b.open(r, nil); !bytes.Equal(got, plain) || kind != kindData || err != nil {
				t.Errorf("%04x: %d bytes: %d, %d, %v", id, n, len(got), kind, err)
			}
			if a.update() != nil || b.update() != nil {
				t.Error("keys do not change")
			}
		}
		first, second := a.seal(nil, kindData, []byte("first"), false), a.seal(nil, kindData, []byte("second"), false)
		if _, _, err := b.open(bytes.Clone(second), nil); err == nil {
			t.Errorf("%04x: the second record is taken as the first", id)
		}
		b.seq--
		first[len(first)-1] ^= 1
		if _, _, err := b.open(first, nil); err == nil {
			t.Errorf("%04x: an altered record is taken", id)
		}
		if _, err := newProtection(id, secret[1:], 0); err == nil {
			t.Errorf("%04x: half a secret is taken", id)
		}
	}
	if _, err := newProtection(0x1304, nil, 0); err == nil {
		t.Error("a suite is taken that there is not")
	}
}

// begun are a carrier and crypto/tls at the other end of it, behind the handshake, of which the carrier
// is the server or not.
func begun(t *testing.T, server bool) (k *TLS, peer *tls.Conn) {
	t.Helper()
	near, far := muxtest.Sockets(t)
	asClient, asServer := muxtest.Configs(t)
	k = NewTLS(far, 16<<10)
	done := make(chan error, 1)
	if server {
		peer = tls.Client(near, asClient)
		go func() { done <- k.Server(t.Context(), asServer) }()
	} else {
		peer = tls.Server(near, asServer)
		go func() { done <- k.Client(t.Context(), asClient) }()
	}
	if err := peer.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	_ = near.SetDeadline(time.Now().Add(20 * time.Second))
	return k, peer
}

// A carrier and crypto/tls understand each other, whoever is the server: what was said before Start and not
// read, records that have come by then and halves of them, and all lengths.
func TestCryptoTLSUnderstands(t *testing.T) {
	for _, server := range []bool{true, false} {
		k, peer := begun(t, server)
		random := rand.NewChaCha8([32]byte{1})
		hello := make([]byte, 5)
		for range 3 { // both count
			if _, err := k.Write([]byte("hello")); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(peer, hello); err != nil || string(hello) != "hello" {
				t.Fatalf("%q, %v", hello, err)
			}
		}
		sent := make([]byte, 3<<20)
		_, _ = random.Read(sent)
		go func() {
			_, _ = peer.Write([]byte("hello"))
			for p, n := sent, 1; len(p) > 0; n = n*3 + 1 {
				k := min(n, len(p))
				_, _ = peer.Write(p[:k])
				p = p[k:]
			}
			_ = peer.CloseWrite()
		}()
		if _, err := k.Read(hello[:2]); err != nil { // the rest of the record is left
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond) // more has come, most likely
		k.Start()
		got, room, rooms := []byte(nil), make([]byte, 16544), 0
		err := k.Receive(func() error {
			for i := 0; ; i++ {
				var p []byte
				var there bool
				var err error
				if i%3 == 0 { // in turns with Next
					p, err = k.Next()
				} else if p, there, err = k.NextInto(room); there != (len(p) > len(room)/2) || there && &p[0] != &room[0] {
					t.Fatalf("%d bytes are in a room of %d: %v", len(p), len(room), there)
				}
				if there {
					rooms++
				}
				if errors.Is(err, ErrNotYet) {
					return nil
				}
				if got = append(got, p...); err != nil {
					return err
				}
			}
		}, nil)
		if rooms < 10 {
			t.Errorf("%d long records were opened into room", rooms)
		}
		if err != io.EOF || !bytes.Equal(got, append([]byte("llo"), sent...)) {
			t.Errorf("server %v: %d bytes of %d, %v", server, len(got), len(sent), err)
		}
		back := make(chan error, 1)
		go func() {
			got := make([]byte, len(sent))
			_, err := io.ReadFull(peer, got)
			if err == nil && !bytes.Equal(got, sent) {
				err = errors.New("the bytes are others")
			}
			back <- err
		}()
		for p, n := sent, 1; len(p) > 0; n = n*3 + 1 {
			m := min(n, len(p))
			if _, err := k.Write(p[:m]); err != nil {
				t.Fatal(err)
			}
			p = p[m:]
			if err := k.Drain(); err != nil {
				t.Fatal(err)
			}
		}
		if err := <-back; err != nil {
			t.Errorf("server %v: %v", server, err)
		}
		k.Close()
	}
}

// Where the processor has no AES the suite is another one.
func TestCryptoTLSUnderstandsWithoutAES(t *testing.T) {
	if os.Getenv("GODEBUG") != "" {
		t.Skip("GODEBUG is set")
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestCryptoTLSUnderstands$", "-test.v")
	cmd.Env = append(os.Environ(), "GODEBUG=cpu.aes=off")
	if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS")) {
		t.Errorf("%v: %s", err, out)
	}
}

// A peer that asks for new keys gets them with what is said next, once for all that it
// has asked for.
func TestNewKeysAreAnswered(t *testing.T) {
	k, near, r, peer := rekeyed(t)
	_ = near.SetDeadline(time.Now().Add(20 * time.Second))
	for range 3 {
		if _, err := near.Write(r.KeyUpdates(3, []byte("said"))); err != nil {
			t.Fatal(err)
		}
		_ = near.(*net.TCPConn).SetNoDelay(true)
		for k.sock.intake.opens.seq != 0 || k.sock.received.Load() == 0 || !k.sock.rekey.Load() {
			enough := errors.New("enough")
			if err := k.Receive(func() error {
				for {
					if _, err := k.Next(); err != nil {
						return enough
					}
				}
			}, nil); err != enough {
				t.Fatal(err)
			}
		}
		if k.sock.gathered() > 0 {
			t.Error("the answer waits for a reader")
		}
		for _, said := range []string{"hello", "again"} {
			if _, err := k.Write([]byte(said)); err != nil {
				t.Fatal(err)
			}
			if err := k.Drain(); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, len(said))
			if _, err := io.ReadFull(peer, got); err != nil || string(got) != said {
				t.Fatalf("%q, %v", got, err)
			}
		}
	}
}

// What the other end says at its end is heard as crypto/tls says it, and a Start without a handshake is
// an error, not a connection in the clear.
func TestEndsOfTLS(t *testing.T) {
	near, far := muxtest.Sockets(t)
	k := NewTLS(far, 16<<10)
	k.Start()
	if _, err := k.Write([]byte("secret")); err == nil {
		t.Error("something is written without a handshake")
	}
	if err := k.Receive(func() error { return nil }, nil); err == nil {
		t.Error("something is read without a handshake")
	}
	near.Close()
	for b, want := range map[[2]byte]string{{1, 0}: "EOF", {2, 42}: "remote error: tls: bad certificate", {1, 90}: ""} {
		got := ""
		if err := alert(b[:]); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("alert %v: %q, not %q", b, got, want)
		}
	}
	if alert([]byte{1}) == nil {
		t.Error("half an alert is taken")
	}
}

// FuzzRecords: whatever records a peer makes with its keys, and however they come, the intake returns
// what they carry, in order, until one that is an error; and it ends for what brings
// nothing.
func FuzzRecords(f *testing.F) {
	f.Add([]byte{23, 5, 23, 200, 22, 5, 24, 0, 0, 1, 1, 23, 1}, uint8(7))
	f.Add([]byte{22, 9, 4, 0, 0, 0, 24, 0, 0, 1, 0, 21, 2, 1, 0}, uint8(1))
	f.Add([]byte{23, 0, 23, 0, 21, 2, 1, 90, 20, 1, 1}, uint8(100))
	secret := bytes.Repeat([]byte{1}, 32)
	f.Fuzz(func(t *testing.T, script []byte, piece uint8) {
		script = script[:min(len(script), 4096)]
		a, _ := newProtection(tls.TLS_AES_128_GCM_SHA256, secret, 0)
		b, _ := newProtection(tls.TLS_AES_128_GCM_SHA256, secret, 0)
		in := &intake{opens: b, asked: func() {}}
		var wire, want []byte
		data := true // up to here nothing but data was said
		for len(script) >= 2 {
			kind, n := script[0], min(int(script[1]), len(script)-2)
			said := script[2 : 2+n]
			script = script[2+n:]
			wire = a.seal(wire, kind, said, false)
			if data = data && kind == kindData && n > 0; data {
				want = append(want, said...)
			}
		}
		var got []byte
		for step := int(piece)*37 + 1; len(wire) > 0; {
			n := copy(in.room(), wire[:min(step, len(wire))])
			wire = wire[n:]
			in.came(n)
			for {
				p, _, err := in.next(nil)
				if err != nil && err != ErrNotYet {
					if !bytes.HasPrefix(got, want) {
						t.Fatalf("%x, and %x was said before %v", got, want, err)
					}
					return
				}
				if err != nil {
					break
				}
				if got = append(got, p...); len(p) == 0 {
					t.Fatal("nothing was returned as something")
				}
			}
			if in.settle(); in.buf != nil {
				t.Fatal("a buffer is held for less than a record")
			}
		}
		if !bytes.HasPrefix(got, want) || in.n > recordMost {
			t.Fatalf("%x came, and %x was said", got, want)
		}
	})
}
