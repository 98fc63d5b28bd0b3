// Package admin serves what people and their tools look at, over HTTP, on either
// half: the only room that serves net/http and knows Prometheus.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Server is the HTTP server of either half: /status has the snapshot as JSON,
// /metrics the same for Prometheus, /healthz says that the process answers,
// and /debug/pprof/ (pprof.go) is there on loopback addresses only.
type Server struct {
	listener net.Listener
	server   *http.Server
	ended    chan struct{} // closed when the last request is answered or cut off
}

// lastAnswers is how long a request that is under way at the end may take.
const lastAnswers = 300 * time.Millisecond

// Listen binds the address at once, so that its error ends the start. It
// returns nil for the zero address.
func Listen(addr netip.AddrPort, snapshot func() any, control Control) (*Server, error) {
	if !addr.IsValid() {
		return nil, nil
	}
	// Plain TCP: Go's listeners would otherwise be kernel MPTCP sockets.
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(context.Background(), "tcp", addr.String())
	if err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	handler := Handler(snapshot, control, addr.Addr().IsLoopback())
	return &Server{listener: l, ended: make(chan struct{}), server: &http.Server{
		Handler: handler,
		// Scrapes are small; a peer that is slower than this is not one.
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       time.Minute,
	}}, nil
}

// Handler is everything that is served; on loopback, profiles and control too.
func Handler(snapshot func() any, control Control, loopback bool) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		snapshotCollector{snapshot},
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "ok\n")
	})
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		body, err := json.MarshalIndent(snapshot(), "", "  ")
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Write(append(body, '\n'))
	})
	if !loopback {
		return mux
	}
	addPprof(mux)
	addControl(mux, control)
	return localOnly(mux)
}

// localOnly refuses requests under a host name other than localhost: a web
// page whose name was rebound to 127.0.0.1 must not read what is served here.
func localOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if _, err := netip.ParseAddr(host); err != nil && host != "localhost" {
			http.Error(w, "ask by address", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Addr is the bound address.
func (a *Server) Addr() net.Addr { return a.listener.Addr() }

// Close frees a Server that is not Run; a nil one has nothing.
func (a *Server) Close() {
	if a != nil {
		a.listener.Close()
	}
}

// Run serves until ctx ends; a nil Server does nothing. Requests that are under
// way are cut off after a moment.
func (a *Server) Run(ctx context.Context) error {
	if a == nil {
		return nil
	}
	stop := context.AfterFunc(ctx, func() {
		// Whoever asked for the change that ends it still gets an answer.
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastAnswers)
		defer cancel()
		if a.server.Shutdown(last) != nil {
			a.server.Close()
		}
		close(a.ended)
	})
	defer stop()
	if err := a.server.Serve(a.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("admin: %w", err)
	}
	<-a.ended
	return nil
}
