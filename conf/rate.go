package conf

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Rate is a number of bits a second, written with its unit: 200Mbit, 1.5Gbit; 0 is none.
type Rate int64

// rateUnits lists the units from the longest name on.
var rateUnits = []struct {
	name string
	bits float64
}{{"Gbit", 1e9}, {"Mbit", 1e6}, {"kbit", 1e3}, {"bit", 1}}

// UnmarshalText reads a rate; a bare number is refused, for its unit is a guess.
func (r *Rate) UnmarshalText(text []byte) error {
	in := strings.TrimSpace(string(text))
	for _, u := range rateUnits {
		number, ok := cutSuffixFold(in, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if err != nil || strings.ContainsAny(number, "xXnNpP_+-") || n*u.bits >= math.MaxInt64 {
			return fmt.Errorf("%q is not a rate", in)
		}
		*r = Rate(n * u.bits)
		return nil
	}
	return fmt.Errorf("%q needs a unit, such as 200Mbit", in)
}

// String is the reverse of UnmarshalText, in the largest unit that it is a whole
// number of.
func (r Rate) String() string {
	for _, u := range rateUnits {
		if n := int64(r) / int64(u.bits); n != 0 && int64(r)%int64(u.bits) == 0 {
			return strconv.FormatInt(n, 10) + u.name
		}
	}
	return "0bit"
}
