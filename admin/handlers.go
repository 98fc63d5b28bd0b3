package admin

import (
	"embed"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/mpsocks/mpsocks/status"
)

// The page is ours, whole: no framework, nothing from elsewhere.
//
//go:embed page
var page embed.FS

// handler is everything that is served.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	p := &s.porter
	k := &desk{s.cfg.Controls, s.recorder.sample}
	mux.Handle("GET /metrics", p.open(metrics(s.recorder).ServeHTTP))
	mux.HandleFunc("GET /healthz", p.open(s.healthz))
	mux.HandleFunc("GET /readyz", p.open(s.readyz))
	mux.HandleFunc("GET /proof", p.prove)
	mux.HandleFunc("GET /proxy.pac", p.open(pac{s.cfg.Status}.ServeHTTP))

	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		if p.enter(w, r) {
			return
		}
		p.closed(file("index.html", "text/html; charset=utf-8"))(w, r)
	})
	// The style and the script say nothing of this half; the refusal uses the style.
	mux.HandleFunc("GET /app.js", file("app.js", "text/javascript; charset=utf-8"))
	mux.HandleFunc("GET /words.js", file("words.js", "text/javascript; charset=utf-8"))
	mux.HandleFunc("GET /curves.js", file("curves.js", "text/javascript; charset=utf-8"))
	mux.HandleFunc("GET /style.css", file("style.css", "text/css; charset=utf-8"))
	mux.HandleFunc("GET /icon.svg", file("icon.svg", "image/svg+xml"))
	mux.HandleFunc("GET /status", p.closed(s.status))
	mux.HandleFunc("GET /history", p.closed(s.history))
	mux.HandleFunc("GET /events", p.closed(s.stream))
	mux.HandleFunc("POST /actions/{what}", p.closed(k.act))
	mux.HandleFunc("GET /capture", p.closed(k.download))
	k.add(mux, p)
	if s.cfg.Pprof {
		addPprof(mux, p)
	}
	return guard(mux)
}

// file serves one file of the page.
func file(name, kind string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		body, err := page.ReadFile("page/" + name)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", kind)
		w.Write(body)
	}
}

// refuse says what to do. On loopback the JSON has what everybody may know: what
// /metrics has.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("WWW-Authenticate", `Bearer realm="mpsocks"`)
	if r.URL.Path == "/" {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(http.StatusUnauthorized)
		body, _ := page.ReadFile("page/locked.html")
		w.Write(body)
		return
	}
	answer := struct {
		Error string `json:"error"`
		*status.Status
	}{Error: "this needs the token: `mpsocks status` finds it by itself, and `mpsocks status --web` prints the page's link with it"}
	if _, loopback := local(r); loopback && r.URL.Path == "/status" {
		answer.Status = s.recorder.status().Open()
	}
	writeJSON(w, http.StatusUnauthorized, answer)
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	w.Write(append(status.PlainJSON(body), '\n'))
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, s.recorder.status())
}

func (s *Server) history(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, s.recorder.history())
}

// health is the answer of /healthz and /readyz.
type health struct {
	Half    string   `json:"half"`
	Version string   `json:"version"`
	Alive   bool     `json:"alive"`
	Ready   bool     `json:"ready"`
	Reasons []string `json:"reasons"` // why it is not ready
	Uptime  float64  `json:"uptime_seconds"`
}

func (s *Server) health() health {
	st := s.recorder.status()
	h := health{s.cfg.Half, s.cfg.Version, true, st.Ready, st.Reasons, time.Since(s.recorder.started).Seconds()}
	if h.Reasons == nil {
		h.Reasons = []string{}
	}
	return h
}

// healthz says that the process answers; why it may be of no use, too.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, s.health())
}

// readyz says whether the half can do its work now: 200, or 503.
func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	h, code := s.health(), http.StatusOK
	if !h.Ready {
		code = http.StatusServiceUnavailable
	}
	writeJSON(w, code, h)
}

// stream sends each new look as a server-sent event until the browser goes.
func (s *Server) stream(w http.ResponseWriter, r *http.Request) {
	c, drop := s.recorder.subscribe()
	defer drop()
	w.Header().Set("Content-Type", "text/event-stream")
	out := http.NewResponseController(w)
	for {
		body, err := json.Marshal(s.recorder.status())
		if err != nil {
			return
		}
		// A browser that does not read is let go, and comes back by itself.
		out.SetWriteDeadline(time.Now().Add(10 * time.Second))
		if _, err := fmt.Fprintf(w, "data: %s\n\n", status.PlainJSON(body)); err != nil || out.Flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-s.recorder.ended:
			return
		case <-c:
		}
	}
}
