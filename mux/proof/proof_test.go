package proof

import (
	"bytes"
	"crypto/ed25519"
	"crypto/tls"
	"net"
	"testing"
	"time"
)

var t0 = time.Unix(1_800_000_000, 0)

func pair(t *testing.T) (client, server ed25519.PrivateKey, p *Prover, b *Book) {
	t.Helper()
	_, client, _ = ed25519.GenerateKey(nil)
	_, server, _ = ed25519.GenerateKey(nil)
	p, err := NewProver(client, server.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	b = new(Book)
	b.Set(server, [][32]byte{[32]byte(client.Public().(ed25519.PublicKey))})
	return client, server, p, b
}

// The X25519 forms of both halves of a key belong together.
func TestForms(t *testing.T) {
	for range 50 {
		pub, key, _ := ed25519.GenerateKey(nil)
		a, err := secretKey(key)
		if err != nil {
			t.Fatal(err)
		}
		b, err := publicKey(pub)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a.PublicKey().Bytes(), b.Bytes()) {
			t.Fatalf("%x and %x", a.PublicKey().Bytes(), b.Bytes())
		}
	}
	one := make([]byte, 32)
	one[0] = 1
	if _, err := publicKey(one); err == nil {
		t.Error("the neutral point is taken")
	}
}

// taken says whether a book takes a proof.
func taken(b *Book, name string, at time.Time) bool {
	_, _, ok := b.Check(name, at)
	return ok
}

// A proof that is none for its time alone says whose it is, and how far the clock was off;
// nothing else does.
func TestClockIsOff(t *testing.T) {
	_, _, p, b := pair(t)
	for _, off := range []time.Duration{-31 * 24 * time.Hour, 50 * 24 * time.Hour, -30 * 365 * 24 * time.Hour} {
		client, got, ok := b.Check(p.Name(t0.Add(off)), t0)
		if ok || client != [32]byte(b.clients[p.id].pub) || (got-off).Abs() > time.Millisecond {
			t.Errorf("off by %v: %v, %v", off, got, ok)
		}
	}
	forged := []byte(p.Name(t0.Add(-48 * time.Hour)))
	forged[20] ^= 1
	for _, name := range []string{p.Name(t0), string(forged), "www.example.org"} {
		if _, off, _ := b.Check(name, t0); off != 0 {
			t.Errorf("%s is off by %v", name, off)
		}
	}
}

func TestAProofIsGoodOnce(t *testing.T) {
	_, server, p, b := pair(t)
	name := p.Name(t0)
	if len(name) > 63 {
		t.Errorf("%d bytes do not fit a label", len(name))
	}
	if !taken(b, name, t0) {
		t.Fatal("refused")
	}
	if taken(b, name, t0) {
		t.Error("taken twice")
	}
	b.Set(server, [][32]byte{[32]byte(b.clients[p.id].pub)})
	if taken(b, name, t0) {
		t.Error("taken again after a change of the configuration")
	}
	for off, want := range map[time.Duration]bool{-48 * time.Hour: false, -25 * time.Hour: true, 25 * time.Hour: true, 48 * time.Hour: false} {
		if got := taken(b, p.Name(t0.Add(off)), t0); got != want {
			t.Errorf("a clock that is off by %v: %v", off, got)
		}
	}
}

func TestOnlyTheHolderOfAKeyCanProve(t *testing.T) {
	client, server, p, b := pair(t)
	name := []byte(p.Name(t0))
	for i := range name {
		for _, c := range []byte("abcdefghijklmnopqrstuvwxyz234567") {
			bad := bytes.Clone(name)
			if bad[i] = c; c != name[i] && taken(b, string(bad), t0) {
				t.Fatalf("changed at %d to %c, and taken", i, c)
			}
		}
	}
	_, other, _ := ed25519.GenerateKey(nil)
	q, _ := NewProver(other, server.Public().(ed25519.PublicKey))
	q.id = p.id // claims to be the client
	if taken(b, q.Name(t0), t0) {
		t.Error("another key's proof is taken")
	}
	q, _ = NewProver(client, other.Public().(ed25519.PublicKey))
	if taken(b, q.Name(t0), t0) {
		t.Error("a proof for another server is taken")
	}
	b.Set(server, nil)
	if taken(b, p.Name(t0), t0) {
		t.Error("a revoked client's proof is taken")
	}
}

func TestWhatIsSeenIsBounded(t *testing.T) {
	_, _, p, b := pair(t)
	first := p.Name(t0)
	taken(b, first, t0)
	for i := range seenMost + 10 {
		if !taken(b, p.Name(t0.Add(time.Duration(i+1)*time.Millisecond)), t0) {
			t.Fatalf("number %d is refused", i)
		}
	}
	if n := len(b.clients[p.id].seen); n > seenMost {
		t.Errorf("%d are remembered", n)
	}
	if taken(b, first, t0) {
		t.Error("one that was forgotten is taken again")
	}
}

// Both ends' configurations belong together, and the name arrives.
func TestEncryptedClientHello(t *testing.T) {
	_, server, p, b := pair(t)
	list, err := ConfigList(server.Public().(ed25519.PublicKey), "www.example.org")
	if err != nil {
		t.Fatal(err)
	}
	cfg, secret, err := ServerConfig(server, "www.example.org")
	if err != nil {
		t.Fatal(err)
	}
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	got := make(chan string, 1)
	go func() {
		_ = tls.Server(far, &tls.Config{
			EncryptedClientHelloKeys: []tls.EncryptedClientHelloKey{{Config: cfg, PrivateKey: secret}},
			GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
				got <- h.ServerName
				return nil, nil
			},
		}).Handshake()
	}()
	go func() {
		_ = tls.Client(near, &tls.Config{
			ServerName: p.Name(t0), EncryptedClientHelloConfigList: list, MinVersion: tls.VersionTLS13,
		}).Handshake()
	}()
	if name := <-got; !taken(b, name, t0) {
		t.Errorf("the server sees %q", name)
	}
}

func FuzzCheck(f *testing.F) {
	_, client, _ := ed25519.GenerateKey(nil)
	_, server, _ := ed25519.GenerateKey(nil)
	p, _ := NewProver(client, server.Public().(ed25519.PublicKey))
	var b Book
	b.Set(server, [][32]byte{[32]byte(client.Public().(ed25519.PublicKey))})
	f.Add(p.Name(t0))
	f.Add("www.example.org")
	f.Fuzz(func(t *testing.T, name string) {
		if len(name) > 0 && taken(&b, name, t0) && taken(&b, name, t0) {
			t.Fatalf("%q is taken twice", name)
		}
	})
}

// What is too old to be taken anyway goes first, and nothing that may be taken is
// refused for it.
func TestOldProofsAreForgottenFirst(t *testing.T) {
	_, _, p, b := pair(t)
	for i := range seenMost {
		if !taken(b, p.Name(t0.Add(time.Duration(i)*time.Microsecond)), t0) {
			t.Fatalf("number %d is refused", i)
		}
	}
	later := t0.Add(2 * leeway)
	early := p.Name(later.Add(-leeway / 2)) // made before, brought after the next one
	if !taken(b, p.Name(later), later) {
		t.Fatal("a new one is refused")
	}
	if n := len(b.clients[p.id].seen); n != 1 {
		t.Errorf("%d are remembered, and one counts", n)
	}
	if !taken(b, early, later) {
		t.Error("one that came late, but in time, is refused")
	}
}

// A key of another length, or one that is no point to agree with, makes no proof.
func TestBadKeys(t *testing.T) {
	_, client, _ := ed25519.GenerateKey(nil)
	if _, err := NewProver(client, make(ed25519.PublicKey, 31)); err == nil {
		t.Error("a public key of 31 bytes is taken")
	}
	if _, err := NewProver(client[:63], client.Public().(ed25519.PublicKey)); err == nil {
		t.Error("a private key of 63 bytes is taken")
	}
	neutral := make(ed25519.PublicKey, 32)
	neutral[0] = 1
	if _, err := NewProver(client, neutral); err == nil {
		t.Error("the neutral point is taken")
	}
	// At the server such a client cannot prove anything either.
	_, server, p, _ := pair(t)
	b := new(Book)
	b.Set(server, [][32]byte{[32]byte(neutral)})
	for i := range b.clients {
		p.id = i
	}
	if taken(b, p.Name(t0), t0) {
		t.Error("a proof of the neutral point is taken")
	}
}

// A few proofs by a clock that was ahead make nobody a stranger when much is forgotten.
func TestAFewAheadCostNothing(t *testing.T) {
	_, _, p, b := pair(t)
	for range 3 {
		if !taken(b, p.Name(t0.Add(leeway-time.Hour)), t0) {
			t.Fatal("one from a clock that is ahead is refused")
		}
	}
	for i := range 2 * seenMost {
		at := t0.Add(time.Duration(i) * time.Millisecond)
		if !taken(b, p.Name(at), at) {
			t.Fatalf("number %d is refused", i)
		}
	}
}

// When a clock is set back, the client's or the server's, after so many proofs that some were forgotten,
// new ones are taken all the same, and none that was taken before.
func TestAClockIsSetBack(t *testing.T) {
	const ahead = 20 * time.Hour
	for name, clocks := range map[string][2]time.Duration{"the client's": {ahead, 0}, "the server's": {0, ahead}, "both": {ahead, ahead}, "both by a month": {30 * 24 * time.Hour, 30 * 24 * time.Hour}} {
		t.Run(name, func(t *testing.T) {
			_, _, p, b := pair(t)
			var before []string
			for i := range seenMost * 5 / 4 {
				at := t0.Add(time.Duration(i) * time.Second / 4)
				proof := p.Name(at.Add(clocks[0]))
				if !taken(b, proof, at.Add(clocks[1])) {
					t.Fatalf("number %d is refused before", i)
				}
				before = append(before, proof)
			}
			refused := 0
			for i := range seenMost * 5 / 4 {
				at := t0.Add(2*time.Hour + time.Duration(i)*time.Second)
				if !taken(b, p.Name(at), at) {
					refused++
				}
				if i%64 == 0 {
					if taken(b, before[i], at) {
						t.Fatalf("number %d is taken again", i)
					}
				}
			}
			if refused > 0 {
				t.Errorf("%d are refused after it was set right", refused)
			}
			if n := len(b.clients[p.id].forgotten); n > 1000 {
				t.Errorf("%d spans are remembered", n)
			}
		})
	}
}
