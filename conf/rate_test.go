package conf

import "testing"

func TestRate(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want Rate
		out  string
	}{
		{"200Mbit", 200e6, "200Mbit"},
		{"1.5 gbit", 1.5e9, "1500Mbit"},
		{"64kbit", 64e3, "64kbit"},
		{"7bit", 7, "7bit"},
		{"200", -1, ""},
		{"-1Mbit", -1, ""},
		{"Mbit", -1, ""},
		{"1e30Gbit", -1, ""},
		{"infbit", -1, ""},
	} {
		r := Rate(-1)
		if err := r.UnmarshalText([]byte(tt.in)); (err == nil) != (tt.want >= 0) || r != tt.want {
			t.Errorf("%q: %d, %v", tt.in, r, err)
		} else if err == nil && r.String() != tt.out {
			t.Errorf("%q: %s", tt.in, r)
		}
	}
}
