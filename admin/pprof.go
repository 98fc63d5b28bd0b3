package admin

import (
	"fmt"
	"net/http"
	"net/http/pprof"
	"runtime"
	"sync"
)

const (
	// mutexFraction: of the unlocks that somebody waited for, one in so many is
	// noted, and stands for all of them.
	mutexFraction = 5
	// blockRate: waits shorter than this are noted in proportion, ns.
	blockRate = 10_000
)

// addPprof serves what net/http/pprof has. The runtime watches locks and waits
// only when told to, which costs something at each of them; so it is told while
// somebody asks for such a profile, with ?seconds=N, and at no other time.
func addPprof(mux *http.ServeMux, p *porter) {
	mux.HandleFunc("/debug/pprof/", p.closed(pprof.Index))
	mux.HandleFunc("/debug/pprof/cmdline", p.closed(pprof.Cmdline))
	mux.HandleFunc("/debug/pprof/profile", p.closed(pprof.Profile))
	mux.HandleFunc("/debug/pprof/symbol", p.closed(pprof.Symbol))
	mux.HandleFunc("/debug/pprof/trace", p.closed(pprof.Trace))
	mux.HandleFunc("/debug/pprof/mutex", p.closed((&watched{name: "mutex", set: func(on bool) {
		runtime.SetMutexProfileFraction(when(on, mutexFraction))
	}}).ServeHTTP))
	mux.HandleFunc("/debug/pprof/block", p.closed((&watched{name: "block", set: func(on bool) {
		runtime.SetBlockProfileRate(when(on, blockRate))
	}}).ServeHTTP))
}

func when(on bool, n int) int {
	if on {
		return n
	}
	return 0
}

// A watched profile has something in it only from while it was switched on.
type watched struct {
	name string
	set  func(on bool)

	mu    sync.Mutex
	asked int // requests under way: the last one switches off
}

func (p *watched) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.FormValue("seconds") == "" {
		// Without, the answer would be an empty profile, which reads as if
		// nobody ever waited.
		http.Error(w, fmt.Sprintf("ask for /debug/pprof/%s?seconds=N: it is taken only while it is asked for", p.name), http.StatusBadRequest)
		return
	}
	p.add(1)
	defer p.add(-1)
	pprof.Handler(p.name).ServeHTTP(w, r)
}

func (p *watched) add(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked += n
	p.set(p.asked > 0)
}
