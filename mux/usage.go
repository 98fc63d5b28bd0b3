package mux

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/durable"
)

const (
	// usageEvery is how often what paths have carried is written, if it grew: what
	// a crash forgets.
	usageEvery = 15 * time.Second
	// usageLimit is how long a file may be: hundreds of paths.
	usageLimit = 1 << 20
	usageDate  = "2006-01-02"
)

// A usageFile keeps what paths have carried over restarts. It is replaced whole, so
// that a crash leaves the old one or the new one. Guarded by Client.mu, but for the
// writing, which watchCaps and then Run do.
type usageFile struct {
	path  string // "" = none
	last  string // as it was written
	next  time.Time
	tired bool // the last write failed, and that was said
}

// usageRecord is one path's line of the file. The dates are local ones, on which the
// counts began.
type usageRecord struct {
	Day        string `json:"day"`
	DayBytes   uint64 `json:"day_bytes"`
	Month      string `json:"month"`
	MonthBytes uint64 `json:"month_bytes"`
	Billing    int    `json:"billing_day,omitempty"`
	KeepAlive  int64  `json:"keep_alive_s,omitempty"` // how long the path is known to bear silence
	// Before are the day and the month that the clock said before these.
	Before *usageRecord `json:"before,omitempty"`
}

// record is a count's line of the file.
func (k *capCount) record() usageRecord {
	of := func(day, month span) usageRecord {
		return usageRecord{Day: day.began.Format(usageDate), DayBytes: day.bytes, Month: month.began.Format(usageDate), MonthBytes: month.bytes}
	}
	r := of(k.day.span, k.month.span)
	if k.day.before.bytes+k.month.before.bytes > 0 {
		before := of(k.day.before, k.month.before)
		r.Before = &before
	}
	r.KeepAlive, r.Billing = k.keep/1e9, k.counted
	return r
}

// spans are the day and the month of a line.
func (r *usageRecord) spans() (day, month span, err error) {
	at := func(text string) (t time.Time) {
		var wrong error
		if t, wrong = time.ParseInLocation(usageDate, text, time.Local); err == nil {
			err = wrong
		}
		return t
	}
	return span{at(r.Day), r.DayBytes}, span{at(r.Month), r.MonthBytes}, err
}

type usageFormat struct {
	Paths map[string]usageRecord `json:"paths"`
}

// load reads the file, if it is there, into counts.
func (u *usageFile) load(counts map[string]*capCount) error {
	if u.path == "" {
		return nil
	}
	body, err := durable.Read(u.path, usageLimit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var all usageFormat
	if err := json.Unmarshal(body, &all); err != nil {
		return fmt.Errorf("%s: %w", u.path, err)
	}
	for name, r := range all.Paths {
		k := &capCount{keep: r.KeepAlive * 1e9, counted: r.Billing}
		k.day.span, k.month.span, err = r.spans()
		if err == nil && r.Before != nil {
			k.day.before, k.month.before, err = r.Before.spans()
		}
		if err != nil {
			return fmt.Errorf("%s: %w", u.path, err)
		}
		counts[name] = k
	}
	return nil
}

// due says that it is time to write, and when it is time again.
func (u *usageFile) due(now bool) bool {
	if u.path == "" || !now && time.Now().Before(u.next) {
		return false
	}
	u.next = time.Now().Add(usageEvery)
	return true
}

// keep writes the file, if anything has changed.
func (u *usageFile) keep(all usageFormat, log *zerolog.Logger) {
	body, err := json.MarshalIndent(all, "", "  ")
	if err == nil && string(body) == u.last {
		return
	}
	if err == nil {
		err = durable.Replace(u.path, append(body, '\n'), 0o600)
	}
	if err == nil {
		u.last, u.tired = string(body), false
	} else if !u.tired {
		u.tired = true
		log.Warn().Err(err).Msg("what paths have carried cannot be kept: a restart forgets it")
	}
}
