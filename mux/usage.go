package mux

import (
	"fmt"
	"time"

	"github.com/mpsocks/mpsocks/durable"
)

// What paths have carried, as it is kept over restarts. Its durable.Record is guarded by
// Client.mu, but for the writing, which watchCaps and then Run do.

const (
	// usageLimit is how long a file may be, bytes: hundreds of paths.
	usageLimit = 1 << 20
	usageDate  = "2006-01-02"
)

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

// loadUsage reads what the file has, if it is there, into counts.
func loadUsage(u *durable.Record, counts map[string]*capCount) error {
	var all usageFormat
	if err := u.Load(&all); err != nil {
		return err
	}
	for name, r := range all.Paths {
		k := &capCount{keep: r.KeepAlive * 1e9, counted: r.Billing}
		var err error
		k.day.span, k.month.span, err = r.spans()
		if err == nil && r.Before != nil {
			k.day.before, k.month.before, err = r.Before.spans()
		}
		if err != nil {
			return fmt.Errorf("%s: %w", u.Path, err)
		}
		counts[name] = k
	}
	return nil
}
