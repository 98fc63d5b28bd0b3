package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"path/filepath"
)

// actionLimit is how long a request to act may be.
const actionLimit = 4 << 10

// action is what a person asks for.
type action struct {
	Path  string         `json:"path"`
	On    bool           `json:"on"`
	To    netip.AddrPort `json:"to"`
	Class string         `json:"class"`
	Level string         `json:"level"`
}

var errNotHere = errors.New("this half has no such control")

// act does one thing. Only JSON is taken, which no form of another site can send
// without asking first.
func (s *Server) act(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Content-Type") != "application/json" {
		http.Error(w, "send JSON", http.StatusUnsupportedMediaType)
		return
	}
	var a action
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, actionLimit))
	d.DisallowUnknownFields()
	if err := d.Decode(&a); err != nil {
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
		return
	}
	err := s.do(r.PathValue("what"), &a)
	switch {
	case errors.Is(err, errNotHere):
		writeJSON(w, http.StatusNotFound, map[string]string{"error": err.Error()})
	case err != nil:
		writeJSON(w, http.StatusConflict, map[string]string{"error": err.Error()})
	default:
		s.recorder.sample()
		writeJSON(w, http.StatusOK, map[string]bool{"done": true})
	}
}

func (s *Server) do(what string, a *action) error {
	c := &s.cfg.Controls
	byPath := func(f func(string, bool) error) error {
		if f == nil {
			return errNotHere
		}
		return f(a.Path, a.On)
	}
	switch what {
	case "pause":
		return byPath(c.PausePath)
	case "backup":
		return byPath(c.SetBackup)
	case "metered":
		return byPath(c.SetMetered)
	case "class":
		if c.ClassFlow == nil {
			return errNotHere
		}
		if !a.To.IsValid() {
			return errors.New("which flow? its destination is no address")
		}
		return c.ClassFlow(a.To, a.Class)
	case "log":
		if c.LogLevel == nil {
			return errNotHere
		}
		return c.LogLevel(a.Level)
	case "capture":
		if c.Capture == nil {
			return errNotHere
		}
		return c.Capture(a.On)
	}
	return errNotHere
}

// download sends the capture that runs or was the last.
func (s *Server) download(w http.ResponseWriter, r *http.Request) {
	file := ""
	if s.cfg.Controls.CaptureFile != nil {
		file, _ = s.cfg.Controls.CaptureFile()
	}
	if file == "" {
		http.Error(w, "there is no capture", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", filepath.Base(file)))
	w.Header().Set("Content-Type", "application/x-pcapng")
	http.ServeFile(w, r, file)
}
