package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
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
	// usageEvery is how often the file is written, if anything has changed, and sooner
	// where a client has used much of its quota: so much a crash forgets.
	usageEvery = 15 * time.Second
	// usageLimit is how long the file may be: a hundred thousand clients.
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

// A usageFile keeps clients' spendings over restarts; it is replaced whole. It
// belongs to the goroutine that counts.
type usageFile struct {
	path  string // "" = none
	last  string // as it was written
	next  time.Time
	tired bool // the last write failed, and that was said
}

// load reads the file, if there is one.
func (u *usageFile) load(dir string) (map[string]spending, error) {
	known := make(map[string]spending)
	if dir == "" {
		return known, nil
	}
	u.path = filepath.Join(dir, usageName)
	body, err := durable.Read(u.path, usageLimit)
	if errors.Is(err, fs.ErrNotExist) {
		return known, nil
	}
	if err != nil {
		return known, err
	}
	if err := json.Unmarshal(body, &known); err != nil {
		return make(map[string]spending), fmt.Errorf("%s: %w", u.path, err)
	}
	return known, nil
}

// keep writes what is known, when that differs from what was written before.
func (u *usageFile) keep(body []byte) error {
	if u.path == "" || string(body) == u.last {
		return nil
	}
	if err := durable.Replace(u.path, body, 0o600); err != nil {
		return err
	}
	u.last = string(body)
	return nil
}
