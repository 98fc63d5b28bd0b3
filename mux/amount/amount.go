// Package amount has how long, how much and how fast as a person says it: in status, in the
// log and in what doctor finds.
package amount

import (
	"fmt"
	"time"

	"github.com/dustin/go-humanize"
)

// Duration is a duration in one unit: 12 s, 4 min, 3 h, 2 days; a negative one is none.
func Duration(d time.Duration) string {
	switch {
	case d < 0:
		return "0 s"
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

// Bytes is an amount in binary units: 1.4 GiB.
func Bytes(n uint64) string { return humanize.IBytes(n) }

// Rate is bits a second in decimal units, as providers and shops have them.
func Rate(bps int64) string {
	switch {
	case bps < 1000:
		return fmt.Sprintf("%d bit/s", max(bps, 0))
	case bps < 1_000_000:
		return short(float64(bps)/1e3) + " kbit/s"
	case bps < 1_000_000_000:
		return short(float64(bps)/1e6) + " Mbit/s"
	}
	return short(float64(bps)/1e9) + " Gbit/s"
}

// short has two digits that say something.
func short(f float64) string {
	if f < 9.95 {
		return fmt.Sprintf("%.1f", f)
	}
	return fmt.Sprintf("%.0f", f)
}

// Millis is a time in seconds as milliseconds, "-" for none.
func Millis(seconds float64) string {
	switch {
	case seconds <= 0:
		return "-"
	case seconds < 0.00005:
		return "<0.1 ms"
	}
	return short(seconds*1e3) + " ms"
}

// Percent is a share of one; what is there but under a tenth is said as such.
func Percent(f float64) string {
	switch {
	case f <= 0:
		return "0 %"
	case f < 0.001:
		return "<0.1 %"
	case f < 0.1:
		return fmt.Sprintf("%.1f %%", f*100)
	}
	return fmt.Sprintf("%.0f %%", f*100)
}
