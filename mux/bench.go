package mux

import "github.com/mpsocks/mpsocks/mux/hands"

// benches are where a process accepts connections and works at handshakes. There are fewer than
// it has processors: however many come, one is left to those who are clients already, whose
// goroutines would otherwise stand behind them, for longest where the system has taken the processor
// away from all threads that work at these. Each bench has its Stint: others of the machine come
// first after a while of work, whoever of those that connect it was for.
type benches chan *hands.Stint

// newBenches makes so many, at least one.
func newBenches(n int) benches {
	b := make(benches, max(n, 1))
	for range cap(b) {
		b <- new(hands.Stint)
	}
	return b
}

// A bench is what one of those who work there has.
type bench struct {
	of  benches
	has *hands.Stint
}

// take returns when there is a bench. Whoever takes it leaves it.
func (b benches) take() *bench {
	at := &bench{of: b}
	at.begin()
	return at
}

func (b *bench) begin() {
	b.has = <-b.of
	b.has.Begin()
}

// leave gives it back.
func (b *bench) leave() {
	b.has.End()
	b.of <- b.has
}

// without calls f, which waits for somebody, while another one has the bench.
func (b *bench) without(f func()) {
	b.leave()
	defer b.begin()
	f()
}
