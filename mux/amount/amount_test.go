package amount

import (
	"testing"
	"time"
)

func TestWords(t *testing.T) {
	const minute, hour = time.Minute, time.Hour
	for want, got := range map[string]string{
		"0 s": Duration(-minute), "12 s": Duration(12 * time.Second), "119 s": Duration(2*minute - 1), "5 min": Duration(5 * minute),
		"119 min": Duration(2*hour - 1), "3 h": Duration(3 * hour), "47 h": Duration(48*hour - 1), "3 days": Duration(80 * hour),
		"1.4 GiB": Bytes(3 << 29 * 15 / 16), "512 B": Bytes(512),
		"0 bit/s": Rate(-3), "999 bit/s": Rate(999), "1.0 kbit/s": Rate(1000), "40 Mbit/s": Rate(40_000_000), "1.2 Gbit/s": Rate(1_200_000_000),
		"-": Millis(0), "10 ms": Millis(.00998), "<0.1 ms": Millis(.00004), "0.3 ms": Millis(.0003), "120 ms": Millis(.12),
		"0 %": Percent(0), "<0.1 %": Percent(.0001), "1.5 %": Percent(.015), "42 %": Percent(.42),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
