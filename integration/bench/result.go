//go:build linux

package main

// A Result is everything one measurement found.
type Result struct {
	Name    string   // what -run selects
	Title   string   // what it is, for people
	Metrics []string // columns
	Rows    []Row
	Error   string `json:",omitempty"` // why it was not made, or not finished
}

// A Row is one system in one measurement.
type Row struct {
	System  string
	Samples map[string]samples // metric -> one figure per round
}

// add appends one round's figure.
func (r *Result) add(system, metric string, value float64) {
	row := r.row(system)
	if row == nil {
		r.Rows = append(r.Rows, Row{System: system, Samples: map[string]samples{}})
		row = &r.Rows[len(r.Rows)-1]
	}
	row.Samples[metric] = append(row.Samples[metric], value)
}

func (r *Result) row(system string) *Row {
	for i := range r.Rows {
		if r.Rows[i].System == system {
			return &r.Rows[i]
		}
	}
	return nil
}

// get returns the figures of a system, none when it was not measured.
func (r *Result) get(system, metric string) samples {
	if row := r.row(system); row != nil {
		return row.Samples[metric]
	}
	return nil
}
