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

// A desk is where a person changes the half.
type desk struct {
	Controls
	done func() // after each change
}

// act does one thing. Only JSON is taken, which no form of another site can send
// without asking first.
func (k *desk) act(w http.ResponseWriter, r *http.Request) {
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
	err := k.do(r.PathValue("what"), &a)
	switch {
	case errors.Is(err, errNotHere):
		writeJSON(w, http.StatusNotFound, map[string]string{"error": err.Error()})
	case err != nil:
		writeJSON(w, http.StatusConflict, map[string]string{"error": err.Error()})
	default:
		k.done()
		writeJSON(w, http.StatusOK, map[string]bool{"done": true})
	}
}

func (k *desk) do(what string, a *action) error {
	byPath := func(f func(string, bool) error) error {
		if f == nil {
			return errNotHere
		}
		return f(a.Path, a.On)
	}
	switch what {
	case "pause":
		return byPath(k.PausePath)
	case "backup":
		return byPath(k.SetBackup)
	case "metered":
		return byPath(k.SetMetered)
	case "class":
		if k.ClassFlow == nil {
			return errNotHere
		}
		if !a.To.IsValid() {
			return errors.New("which flow? its destination is no address")
		}
		return k.ClassFlow(a.To, a.Class)
	case "log":
		if k.LogLevel == nil {
			return errNotHere
		}
		return k.LogLevel(a.Level)
	case "capture":
		if k.Capture == nil {
			return errNotHere
		}
		return k.Capture(a.On)
	}
	return errNotHere
}

// download sends the capture that runs or was the last.
func (k *desk) download(w http.ResponseWriter, r *http.Request) {
	file := ""
	if k.CaptureFile != nil {
		file, _ = k.CaptureFile()
	}
	if file == "" {
		http.Error(w, "there is no capture", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", filepath.Base(file)))
	w.Header().Set("Content-Type", "application/x-pcapng")
	http.ServeFile(w, r, file)
}
