package admin

import (
	"encoding/json"
	"net/http"
)

// controlHeader has to be on a request that changes something. A web page cannot send
// it to another origin without being asked by the browser first, and is refused then.
const controlHeader = "Mpsocks-Control"

// controlResult is the answer to a request that changes something.
type controlResult struct {
	Changes []string `json:"changes"`         // what has changed, a line each
	Error   string   `json:"error,omitempty"` // why nothing has; may have several lines
}

// add serves POST /reload and POST /drain to those whom the porter lets in.
func (k *desk) add(mux *http.ServeMux, p *porter) {
	handle := func(path string, do func() ([]string, error)) {
		mux.HandleFunc("POST "+path, p.closed(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get(controlHeader) == "" {
				http.Error(w, "the header "+controlHeader+" is missing", http.StatusForbidden)
				return
			}
			changes, err := do()
			result := controlResult{Changes: changes}
			w.Header().Set("Content-Type", "application/json")
			if err != nil {
				result.Error = err.Error()
				w.WriteHeader(http.StatusUnprocessableEntity)
			}
			json.NewEncoder(w).Encode(result)
		}))
	}
	if k.Reload != nil {
		handle("/reload", k.Reload)
	}
	if k.Drain != nil {
		handle("/drain", func() ([]string, error) { return nil, k.Drain() })
	}
}
