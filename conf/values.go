package conf

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Size is a number of bytes, written with its unit: 10GiB, 500 MB, 1.5TiB.
type Size int64

// sizeUnits lists the units from the longest name on, so that MiB is not taken
// for B.
var sizeUnits = []struct {
	name  string
	bytes float64
}{
	{"KiB", 1 << 10},
	{"MiB", 1 << 20},
	{"GiB", 1 << 30},
	{"TiB", 1 << 40},
	{"kB", 1e3},
	{"MB", 1e6},
	{"GB", 1e9},
	{"TB", 1e12},
	{"B", 1},
}

// UnmarshalText reads a size; a bare number is refused, for its unit is a guess.
func (s *Size) UnmarshalText(text []byte) error {
	in := strings.TrimSpace(string(text))
	for _, u := range sizeUnits {
		number, ok := cutSuffixFold(in, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		// ParseFloat also reads inf, nan, hexadecimals and signs.
		if err != nil || strings.ContainsAny(number, "xXnNpP_+-") || n*u.bytes >= math.MaxInt64 {
			return fmt.Errorf("%q is not a size", in)
		}
		*s = Size(n * u.bytes)
		return nil
	}
	return fmt.Errorf("%q needs a unit, such as 500MB or 10GiB", in)
}

// cutSuffixFold is strings.CutSuffix without regard to case.
func cutSuffixFold(s, suffix string) (string, bool) {
	if len(s) < len(suffix) || !strings.EqualFold(s[len(s)-len(suffix):], suffix) {
		return s, false
	}
	return s[:len(s)-len(suffix)], true
}

// String writes the size in the largest unit that it is a whole number of.
func (s Size) String() string {
	best, number := "B", int64(s)
	for _, u := range sizeUnits {
		if n := int64(s) / int64(u.bytes); n != 0 && int64(s)%int64(u.bytes) == 0 && n < number {
			best, number = u.name, n
		}
	}
	return strconv.FormatInt(number, 10) + best
}

// Subflows is a number of subflows; 0 is auto: the engine chooses.
type Subflows int

// UnmarshalText reads "auto" or a number.
func (n *Subflows) UnmarshalText(text []byte) error {
	if string(text) == "auto" {
		*n = 0
		return nil
	}
	v, err := strconv.ParseUint(string(text), 10, 16)
	if err != nil {
		return fmt.Errorf("%q is neither auto nor a number", text)
	}
	*n = Subflows(v)
	return nil
}

// String is the reverse of UnmarshalText.
func (n Subflows) String() string {
	if n == 0 {
		return "auto"
	}
	return strconv.Itoa(int(n))
}

// PortRange is a range of ports, both ends included; the zero value is empty
// and means any.
type PortRange struct{ From, To uint16 }

// UnmarshalText reads "80" or "1000-2000"; the empty text is the zero value.
func (r *PortRange) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*r = PortRange{}
		return nil
	}
	from, to, isRange := strings.Cut(string(text), "-")
	if !isRange {
		to = from
	}
	a, errA := strconv.ParseUint(strings.TrimSpace(from), 10, 16)
	b, errB := strconv.ParseUint(strings.TrimSpace(to), 10, 16)
	if errA != nil || errB != nil || a == 0 {
		return fmt.Errorf("%q is neither a port (1 to 65535) nor a range such as 1000-2000", text)
	}
	if a > b {
		return fmt.Errorf("%q ends before it starts", text)
	}
	*r = PortRange{uint16(a), uint16(b)}
	return nil
}

// IsZero says whether the range is the empty one.
func (r PortRange) IsZero() bool { return r == PortRange{} }

// Contains says whether port is in the range; the zero range contains all.
func (r PortRange) Contains(port uint16) bool {
	return r.IsZero() || r.From <= port && port <= r.To
}

// Len is the number of ports in the range; 0 for the zero range.
func (r PortRange) Len() int {
	if r.IsZero() {
		return 0
	}
	return int(r.To) - int(r.From) + 1
}

// String is the reverse of UnmarshalText.
func (r PortRange) String() string {
	switch {
	case r.IsZero():
		return ""
	case r.From == r.To:
		return strconv.Itoa(int(r.From))
	}
	return fmt.Sprintf("%d-%d", r.From, r.To)
}

// DSCP is a differentiated services code point; the zero value is none, which
// matches any.
type DSCP struct{ next uint8 } // the code point plus one

// UnmarshalText reads 0 to 63 or a name: ef, va, le, df, csN, afNN.
func (d *DSCP) UnmarshalText(text []byte) error {
	in := strings.ToLower(strings.TrimSpace(string(text)))
	v, err := strconv.ParseUint(in, 10, 8)
	switch {
	case err == nil:
	case in == "ef": // RFC 3246
		v = 46
	case in == "va": // RFC 5865
		v = 44
	case in == "le": // RFC 8622
		v = 1
	case in == "df": // RFC 2474
		v = 0
	case len(in) == 3 && in[:2] == "cs" && '0' <= in[2] && in[2] <= '7': // RFC 2474
		v = uint64(in[2]-'0') << 3
	case len(in) == 4 && in[:2] == "af" && '1' <= in[2] && in[2] <= '4' && '1' <= in[3] && in[3] <= '3': // RFC 2597
		v = uint64(in[2]-'0')<<3 | uint64(in[3]-'0')<<1
	default:
		return fmt.Errorf("%q is neither a code point (0 to 63) nor a name such as ef, af41 or cs1", text)
	}
	if v > 63 {
		return fmt.Errorf("%q is over 63, the largest code point", text)
	}
	d.next = uint8(v) + 1
	return nil
}

// Value is the code point, or -1 for any.
func (d DSCP) Value() int { return int(d.next) - 1 }

// accessLists are the destinations that a name stands for.
var accessLists = map[string][]Access{
	// Networks that are somebody's own: RFC 1918, carrier-NAT (RFC 6598), link-local
	// (RFC 3927, RFC 4291), unique local (RFC 4193).
	"private": accesses("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16", "fc00::/7", "fe80::/10"),
	// Where clouds tell a machine its secrets: AWS, Azure, GCP, Alibaba, Oracle and
	// those who do as they do.
	"metadata": accesses("169.254.169.254", "169.254.170.2", "169.254.170.23", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254",
		"168.63.129.16", "100.100.100.200", "192.0.0.192"),
	// Mail from server to server, which is what spam is; programs that hand in mail
	// use other ports.
	"smtp": accesses("0.0.0.0/0:25", "[::]/0:25"),
}

func accesses(texts ...string) []Access {
	out := make([]Access, len(texts))
	for i, t := range texts {
		var err error
		if out[i], err = parseAccess(t); err != nil {
			panic(err)
		}
	}
	return out
}

// Access is one entry of an access list: destinations by address and port, or by the
// name of a list.
type Access struct {
	// List is private, metadata or smtp, and then there is nothing else; or "".
	List string
	// Prefix is the set of addresses.
	Prefix netip.Prefix
	// Ports are the ports at those addresses; none means all.
	Ports []PortRange
}

// UnmarshalText reads 10.0.0.0/8, 192.168.1.5:53, 10.0.0.0/8:53,80-90,
// fd00::/8, [fd00::1]:53 or [fd00::]/8:53, or the name of a list.
func (a *Access) UnmarshalText(text []byte) error {
	name := string(text)
	if _, ok := accessLists[name]; ok {
		*a = Access{List: name}
		return nil
	}
	out, err := parseAccess(name)
	if err != nil {
		if address, _, wrong := splitAccess(name); wrong == nil && !strings.ContainsAny(address, ".:/0123456789") {
			err = fmt.Errorf("no address, no prefix and no list: %s", Misspelt(address, slices.Sorted(maps.Keys(accessLists))))
		}
		return err
	}
	*a = out
	return nil
}

// parseAccess reads the forms that are no names.
func parseAccess(text string) (a Access, err error) {
	address, ports, err := splitAccess(text)
	if err != nil {
		return a, err
	}
	if a.Prefix, err = parsePrefix(address); err != nil {
		return a, err
	}
	if ports != "" {
		for _, p := range strings.Split(ports, ",") {
			var r PortRange
			if err := r.UnmarshalText([]byte(p)); err != nil {
				return a, err
			}
			if r.IsZero() {
				return a, fmt.Errorf("%q has an empty port", text)
			}
			a.Ports = append(a.Ports, r)
		}
	}
	return a, nil
}

// splitAccess parts the address or prefix from the ports behind it; an IPv6
// address with ports stands in brackets.
func splitAccess(in string) (address, ports string, err error) {
	if strings.HasPrefix(in, "[") {
		inner, rest, ok := strings.Cut(in[1:], "]")
		if !ok {
			return "", "", fmt.Errorf("%q lacks its closing bracket", in)
		}
		bits, ports, hasPorts := strings.Cut(rest, ":")
		if hasPorts && ports == "" || bits != "" && bits[0] != '/' {
			return "", "", fmt.Errorf("%q is not [address]/bits:ports", in)
		}
		return inner + bits, ports, nil
	}
	if strings.Count(in, ":") == 1 { // IPv4 with ports; IPv6 has two at least
		address, ports, _ = strings.Cut(in, ":")
		if ports == "" {
			return "", "", fmt.Errorf("%q has a colon but no port", in)
		}
		return address, ports, nil
	}
	return in, "", nil
}

// parsePrefix reads a prefix, or one address as the prefix of its full length.
func parsePrefix(in string) (netip.Prefix, error) {
	if !strings.Contains(in, "/") {
		a, err := netip.ParseAddr(in)
		if err != nil || a.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("%q is neither an address nor a prefix", in)
		}
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(in)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is not a prefix such as 10.0.0.0/8", in)
	}
	if p.Addr().Is4In6() {
		return netip.Prefix{}, errors.New("write IPv4 prefixes in IPv4 form, not as ::ffff:0:0/96")
	}
	if p != p.Masked() {
		return netip.Prefix{}, fmt.Errorf("%q has bits set behind the prefix: write %s", in, p.Masked())
	}
	return p, nil
}

// Match says whether the entry covers dst. IPv4-mapped addresses count as the
// IPv4 addresses they are.
func (a Access) Match(dst netip.AddrPort) bool {
	if a.List != "" {
		return slices.ContainsFunc(accessLists[a.List], func(x Access) bool { return x.Match(dst) })
	}
	if !a.Prefix.Contains(dst.Addr().Unmap()) {
		return false
	}
	for _, r := range a.Ports {
		if r.Contains(dst.Port()) {
			return true
		}
	}
	return len(a.Ports) == 0
}

// Covers says whether the entry is for all ports of an address.
func (a Access) Covers(addr netip.Addr) bool {
	if a.List != "" {
		return slices.ContainsFunc(accessLists[a.List], func(x Access) bool { return x.Covers(addr) })
	}
	return len(a.Ports) == 0 && a.Prefix.Contains(addr.Unmap())
}

// String is a form that UnmarshalText reads.
func (a Access) String() string {
	if a.List != "" {
		return a.List
	}
	out := a.Prefix.String()
	if len(a.Ports) == 0 {
		return out
	}
	if a.Prefix.Addr().Is6() {
		out = fmt.Sprintf("[%s]/%d", a.Prefix.Addr(), a.Prefix.Bits())
	}
	for i, r := range a.Ports {
		sep := ","
		if i == 0 {
			sep = ":"
		}
		out += sep + r.String()
	}
	return out
}
