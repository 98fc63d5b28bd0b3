package admin

import (
	"encoding/json"
	"net/http"
)

// Control is what a request may have a half do. What is nil is not offered.
type Control struct {
	// Reload has the half read its configuration anew, and says line by line what has
	// changed; an error has changed nothing.
	Reload func() ([]string, error)
	// Drain has the half take nothing new and end when it is empty.
	Drain func() error
}

// ControlHeader has to be on a request that changes something. A web page cannot send
// it to another origin without being asked by the browser first, and is refused then.
const ControlHeader = "Mpsocks-Control"

// ControlResult is the answer to a request that changes something.
type ControlResult struct {
	Changes []string `json:"changes"`         // what has changed, a line each
	Error   string   `json:"error,omitempty"` // why nothing has; may have several lines
}

// addControl serves POST /reload and POST /drain.
func addControl(mux *http.ServeMux, c Control) {
	handle := func(path string, do func() ([]string, error)) {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
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
		})
	}
	if c.Reload != nil {
		handle("/reload", c.Reload)
	}
	if c.Drain != nil {
		handle("/drain", func() ([]string, error) { return nil, c.Drain() })
	}
}
