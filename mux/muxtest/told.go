package muxtest

import (
	"maps"
	"sync"
)

// A Told is what a fake was told last of each key. It is safe for concurrent use; the zero
// value is ready.
type Told[K comparable, V any] struct {
	mu   sync.Mutex // guards last
	last map[K]V
}

// Note keeps what is said of a key.
func (t *Told[K, V]) Note(key K, said V) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.last == nil {
		t.last = make(map[K]V)
	}
	t.last[key] = said
}

// Last returns all of it.
func (t *Told[K, V]) Last() map[K]V {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.last)
}

// Forget has it begin anew.
func (t *Told[K, V]) Forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = nil
}
