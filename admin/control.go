package admin

import (
	"encoding/json"
	"net/http"
)

// ControlHeader has to be on a request that changes something. A web page cannot send
// it to another origin without being asked by the browser first, and is refused then.
const ControlHeader = "Mpsocks-Control"

// ControlResult is the answer to a request that changes something.
type ControlResult struct {
	Changes []string `json:"changes"`         // what has changed, a line each
	Error   string   `json:"error,omitempty"` // why nothing has; may have several lines
}

// addControl serves POST /reload and POST /drain.
func (s *Server) addControl(mux *http.ServeMux) {
	c := &s.cfg.Controls
	handle := func(path string, do func() ([]string, error)) {
		mux.HandleFunc("POST "+path, s.closed(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get(ControlHeader) == "" {
				http.Error(w, "the header "+ControlHeader+" is missing", http.StatusForbidden)
				return
			}
			changes, err := do()
			result := ControlResult{Changes: changes}
			w.Header().Set("Content-Type", "application/json")
			if err != nil {
				result.Error = err.Error()
				w.WriteHeader(http.StatusUnprocessableEntity)
			}
			json.NewEncoder(w).Encode(result)
		}))
	}
	if c.Reload != nil {
		handle("/reload", c.Reload)
	}
	if c.Drain != nil {
		handle("/drain", func() ([]string, error) { return nil, c.Drain() })
	}
}
