package server

import (
	"path/filepath"
	"time"

	"github.com/mpsocks/mpsocks/durable"
)

const (
	// usageName is the file in state_dir that keeps what clients have used.
	usageName = "clients-usage.json"
	// usageTick is how often what sessions have carried is counted: by so much a
	// client can go beyond its quota.
	usageTick = time.Second
	// usageLimit is how long the file may be, bytes: a hundred thousand clients.
	usageLimit = 16 << 20
	// usageMonth writes the month that a count is of.
	usageMonth = "2006-01"
)

// A spending is what a client has used of a month, and of the one that the clock said
// before: a clock may be wrong for a while, and be set right.
type spending struct {
	Month       string `json:"month"`
	Bytes       uint64 `json:"bytes"`
	BeforeMonth string `json:"before_month,omitempty"`
	Before      uint64 `json:"before,omitempty"`
}

// add counts bytes; a month that has begun starts from nothing.
func (u *spending) add(n uint64, now time.Time) {
	switch month := now.Format(usageMonth); month {
	case u.Month:
	case u.BeforeMonth:
		*u = spending{u.BeforeMonth, u.Before, u.Month, u.Bytes}
	default:
		*u = spending{Month: month, BeforeMonth: u.Month, Before: u.Bytes}
	}
	u.Bytes += n
}

// of is what is counted for the month that it is.
func (u *spending) of(now time.Time) uint64 {
	switch now.Format(usageMonth) {
	case u.Month:
		return u.Bytes
	case u.BeforeMonth:
		return u.Before
	}
	return 0
}

// loadUsage reads what clients have used from the file in that directory, "" = none. What it
// returns knows nothing with an error, and where there is no file.
func loadUsage(dir string) (file durable.Record, known map[string]spending, err error) {
	known = make(map[string]spending)
	if dir == "" {
		return file, known, nil
	}
	file = durable.Record{Path: filepath.Join(dir, usageName), Limit: usageLimit}
	if err := file.Load(&known); err != nil {
		return file, make(map[string]spending), err
	}
	return file, known, nil
}
