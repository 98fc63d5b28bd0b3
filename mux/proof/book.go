package proof

import (
	"crypto/ed25519"
	"crypto/hmac"
	"encoding/binary"
	"maps"
	"slices"
	"sync"
	"time"
)

const (
	// leeway is how far a client's clock may be from the server's: a day, for
	// machines whose clock was set wrongly, and a little.
	leeway = 26 * time.Hour
	// seenMost is how many proofs of a client are remembered; beyond it the older
	// half is forgotten, and nothing that old is taken any more.
	seenMost = 8192
	// span is that of forgotten, ms.
	span = 10 * 60 * 1000
)

// A Book checks the proofs of the configured clients, and takes each only once. It is
// safe for concurrent use.
type Book struct {
	mu      sync.Mutex
	server  ed25519.PrivateKey
	clients map[[idLen]byte]*entry
}

type entry struct {
	pub  ed25519.PublicKey
	key  []byte           // made when it is first needed
	seen map[uint64]int64 // nonce -> its time, ms
	// forgotten is up to when nothing is taken any more of the proofs of a span of time, as some of them
	// have been forgotten, ms. A clock that is set back is soon in a span of which all is known.
	forgotten map[int64]int64
}

// Set has the book go by these keys. What it has seen of clients that stay is kept.
func (b *Book) Set(server ed25519.PrivateKey, clients [][32]byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	fresh := !b.server.Equal(server)
	next := make(map[[idLen]byte]*entry, len(clients))
	for _, c := range clients {
		i := id(c[:])
		e := b.clients[i]
		if e == nil || !e.pub.Equal(ed25519.PublicKey(c[:])) {
			e = &entry{pub: append(ed25519.PublicKey(nil), c[:]...), seen: make(map[uint64]int64), forgotten: make(map[int64]int64)}
		}
		if fresh {
			e.key = nil
		}
		next[i] = e
	}
	b.server, b.clients = server, next
}

// Check says whether a name is a proof that has not been used, and by which client. off is how far
// the client's clock was ahead when it made one that is none for that alone. It costs a
// hash; the first of each client an X25519 as well.
func (b *Book) Check(name string, now time.Time) (client [32]byte, off time.Duration, ok bool) {
	if len(name) != encoding.EncodedLen(nameLen) {
		return client, 0, false
	}
	raw, err := encoding.DecodeString(name)
	if err != nil || encoding.EncodeToString(raw) != name { // one spelling: the last letter has unused bits
		return client, 0, false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.clients[[idLen]byte(raw)]
	if e == nil {
		return client, 0, false
	}
	if e.key == nil {
		if e.key, err = macKey(b.server, e.pub); err != nil {
			return client, 0, false
		}
	}
	if !hmac.Equal(mac(e.key, raw[:macAt]), raw[macAt:]) {
		return client, 0, false
	}
	at := int64(binary.BigEndian.Uint64(append([]byte{0, 0}, raw[idLen:idLen+6]...)))
	nonce := binary.BigEndian.Uint64(raw[idLen+6:])
	// Sub stops at 292 years.
	if d := time.UnixMilli(at).Sub(now); d > leeway || -d > leeway {
		return [32]byte(e.pub), d, false
	}
	if _, used := e.seen[nonce]; used || at <= e.forgotten[at/span] {
		return client, 0, false
	}
	if len(e.seen) >= seenMost {
		e.forget(now)
	}
	e.seen[nonce] = at
	return [32]byte(e.pub), 0, true
}

// forget drops what is too old to be taken anyway, or else the older half, of which a few by a clock
// that was ahead are none.
func (e *entry) forget(now time.Time) {
	times := make([]int64, 0, len(e.seen))
	for _, at := range e.seen {
		times = append(times, at)
	}
	slices.Sort(times)
	until := max(now.Add(-leeway).UnixMilli()-1, times[len(times)/2-1])
	for n, at := range e.seen {
		if at <= until {
			delete(e.seen, n)
			e.forgotten[at/span] = max(e.forgotten[at/span], at)
		}
	}
	maps.DeleteFunc(e.forgotten, func(s, _ int64) bool {
		return now.Sub(time.UnixMilli(s*span)).Abs() > 2*leeway // this clock may have been wrong
	})
}
