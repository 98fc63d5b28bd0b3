package conf

import (
	"encoding"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// decodeHook turns what a file or the environment says into what a field
// holds, and answers for every mismatch itself, in the user's words.
func decodeHook(from, to reflect.Value) (any, error) {
	if from.Kind() == reflect.Interface {
		from = from.Elem()
	}
	if from.IsValid() && from.Type() == to.Type() {
		return from.Interface(), nil
	}
	switch {
	case to.Type() == durationType:
		return decodeDuration(from)
	case to.Type() == listenType && from.Kind() != reflect.Map:
		ap, err := decodeAddrPort(from)
		return Listen{Address: ap}, err
	}
	switch to.Interface().(type) {
	case netip.AddrPort:
		if from.Kind() == reflect.String && from.String() == "" {
			return netip.AddrPort{}, nil
		}
		return decodeAddrPort(from)
	case netip.Addr:
		if from.Kind() == reflect.String && from.String() == "" {
			return netip.Addr{}, nil
		}
		a, err := netip.ParseAddr(text(from))
		if err != nil {
			return nil, fmt.Errorf("expected an address such as 192.0.2.1 or 2001:db8::1, got %s", describe(from))
		}
		return a.Unmap(), nil
	case netip.Prefix:
		if from.Kind() == reflect.String && from.String() == "" {
			return netip.Prefix{}, nil
		}
		if from.Kind() != reflect.String {
			return nil, fmt.Errorf("expected a prefix such as 10.0.0.0/8, got %s", describe(from))
		}
		return parsePrefix(from.String())
	}
	if hasText(to.Type()) {
		return decodeText(from, to.Type())
	}
	return decodeKind(from, to)
}

// decodeText serves the types with a text form of their own. A number is text
// too, where a number is what one would write.
func decodeText(from reflect.Value, to reflect.Type) (any, error) {
	_, secret := reflect.Zero(to).Interface().(PrivateKey)
	in := text(from)
	if in == "" && from.Kind() != reflect.String {
		got := describe(from)
		if secret {
			got = "something else"
		}
		if from.Kind() == reflect.Slice {
			return nil, fmt.Errorf("expected one value, got %s", got)
		}
		return nil, fmt.Errorf("expected text, got %s", got)
	}
	out := reflect.New(to)
	if err := out.Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(in)); err != nil {
		return nil, err
	}
	return out.Elem().Interface(), nil
}

// decodeKind serves the plain kinds. The environment has only texts, so texts
// that are numbers, truth values or lists count as such.
func decodeKind(from, to reflect.Value) (any, error) {
	isText := from.Kind() == reflect.String
	switch to.Kind() {
	case reflect.Bool:
		if isText {
			if b, err := strconv.ParseBool(from.String()); err == nil {
				return b, nil
			}
		} else if from.Kind() == reflect.Bool {
			return from.Interface(), nil
		}
		return nil, fmt.Errorf("expected true or false, got %s", describe(from))
	case reflect.Int:
		if in := text(from); in != "" {
			if n, err := strconv.Atoi(in); err == nil {
				return n, nil
			}
		}
		return nil, fmt.Errorf("expected a whole number, got %s", describe(from))
	case reflect.String:
		if !isText {
			return nil, fmt.Errorf("expected text, got %s: put it in quotes", describe(from))
		}
	case reflect.Slice:
		if isText {
			return splitList(from.String(), to.Type().Elem()), nil
		}
		switch element := to.Type().Elem(); {
		case from.Kind() == reflect.Slice:
		case element == reflect.TypeFor[Admin]():
			return nil, fmt.Errorf("expected address:port, such as [127.0.0.1:9081], got %s", describe(from))
		case element == listenType, element == reflect.TypeFor[netip.AddrPort]():
			return nil, fmt.Errorf("expected address:port, such as [127.0.0.1:1080], got %s", describe(from))
		case element.Kind() == reflect.Struct && !hasText(element):
			return nil, fmt.Errorf("expected a list, as in - %s, got %s", example(element), describe(from))
		default:
			return nil, fmt.Errorf("expected a list, got %s", describe(from))
		}
	case reflect.Struct:
		if from.Kind() != reflect.Map {
			return nil, fmt.Errorf("expected a section with keys of its own, as in %s, got %s", example(to.Type()), describe(from))
		}
		// YAML has keys that are no texts; mapstructure panics on them.
		for _, k := range from.MapKeys() {
			if k.Kind() == reflect.Interface {
				k = k.Elem()
			}
			if k.Kind() != reflect.String {
				return nil, fmt.Errorf("has %s where a key should be", describe(k))
			}
		}
	}
	return from.Interface(), nil
}

// example shows how a section begins.
func example(t reflect.Type) string {
	var keys []string
	for _, s := range settings(t, "", false) {
		if !strings.Contains(s.path, ".") && len(keys) < 2 {
			keys = append(keys, s.path+": ...")
		}
	}
	return "{" + strings.Join(keys, ", ") + "}"
}

// splitList takes a list from one text, as the environment has it: parted by
// commas or spaces; access entries by spaces only, for their ports have commas.
func splitList(in string, element reflect.Type) []any {
	access := element == reflect.TypeFor[Access]()
	out := []any{}
	for _, s := range strings.FieldsFunc(in, func(r rune) bool {
		return unicode.IsSpace(r) || r == ',' && !access
	}) {
		out = append(out, s)
	}
	return out
}

func decodeDuration(from reflect.Value) (any, error) {
	in := text(from)
	if _, err := strconv.ParseFloat(in, 64); err == nil {
		return nil, fmt.Errorf("%s needs a unit: %ss, %sm or %sh", in, in, in, in)
	}
	d, err := time.ParseDuration(in)
	if err != nil {
		return nil, fmt.Errorf("expected a duration such as 30s, 5m or 1h30m, got %s", describe(from))
	}
	return d, nil
}

func decodeAddrPort(from reflect.Value) (netip.AddrPort, error) {
	if from.Kind() != reflect.String {
		return netip.AddrPort{}, fmt.Errorf("expected address:port, such as 127.0.0.1:1080, got %s", describe(from))
	}
	ap, ok := parseAddrPort(from.String())
	if !ok {
		return ap, fmt.Errorf("%q is not address:port, such as 127.0.0.1:1080 or [::1]:1080", shorten(from.String()))
	}
	return ap, nil
}

// text is a scalar as its author wrote it; "" for everything else.
func text(v reflect.Value) string {
	switch v.Kind() {
	case reflect.String:
		return strings.TrimSpace(v.String())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return strconv.FormatInt(v.Int(), 10)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return strconv.FormatUint(v.Uint(), 10)
	case reflect.Float32, reflect.Float64: // JSON has only these
		if f := v.Float(); f == math.Trunc(f) && math.Abs(f) < 1<<53 {
			return strconv.FormatInt(int64(f), 10)
		}
		return strconv.FormatFloat(v.Float(), 'g', -1, 64)
	}
	return ""
}

// describe names a value of the wrong kind.
func describe(v reflect.Value) string {
	switch v.Kind() {
	case reflect.String:
		return strconv.Quote(shorten(v.String()))
	case reflect.Bool:
		return strconv.FormatBool(v.Bool())
	case reflect.Map:
		return "a section"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Invalid:
		return "nothing"
	}
	if s := text(v); s != "" {
		return s
	}
	return "a " + v.Type().String()
}

// shorten keeps a hostile value from filling the screen.
func shorten(s string) string {
	const enough = 80
	if len(s) > enough {
		return s[:enough] + "..."
	}
	return s
}

// parsePort reads the port of a host:port.
func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, errors.New("the port has to be 1 to 65535")
	}
	return uint16(n), nil
}
