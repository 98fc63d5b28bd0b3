package conf

import (
	"encoding"
	"fmt"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
)

// EnvPrefix starts the name of every environment variable that is a setting:
// log.level is MPSOCKS_LOG_LEVEL. Everything that starts so must be one.
const EnvPrefix = "MPSOCKS_"

// A setting is one key of the file format, found by walking the structs.
type setting struct {
	path string // such as log.level or paths[].name
	env  bool   // whether the environment can carry it: it has a text form
}

var (
	textType     = reflect.TypeFor[encoding.TextUnmarshaler]()
	durationType = reflect.TypeFor[time.Duration]()
	listenType   = reflect.TypeFor[Listen]()
)

// settings lists the keys of a struct type in the order of its fields.
func settings(t reflect.Type, prefix string, env bool) []setting {
	var out []setting
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() {
			continue // not from a file
		}
		path := prefix + f.Tag.Get("mapstructure")
		ft, element := f.Type, f.Type
		if ft.Kind() == reflect.Slice {
			element = ft.Elem()
		}
		switch {
		case hasText(ft) || element.Kind() != reflect.Struct:
			out = append(out, setting{path, env})
		case ft == element: // a section
			out = append(out, setting{path, false})
			out = append(out, settings(ft, path+".", env)...)
		case element == listenType: // also a list of texts
			out = append(out, setting{path, env})
			out = append(out, settings(element, path+"[].", false)...)
		case hasText(element):
			out = append(out, setting{path, env})
		default: // a list of sections
			out = append(out, setting{path, false})
			out = append(out, settings(element, path+"[].", false)...)
		}
	}
	return out
}

// unknownKeys lists the keys of a decoded file that have no field in the struct
// type, with their whole paths, sorted. Values of the wrong kind are left to
// the decoding, which names them.
func unknownKeys(raw any, t reflect.Type, path string) (unknown []string) {
	v := reflect.ValueOf(raw)
	switch {
	case hasText(t):
	case t.Kind() == reflect.Slice && v.Kind() == reflect.Slice:
		for i := range v.Len() {
			unknown = append(unknown, unknownKeys(v.Index(i).Interface(), t.Elem(), fmt.Sprintf("%s[%d]", path, i))...)
		}
	case t.Kind() == reflect.Struct && v.Kind() == reflect.Map:
		if path != "" {
			path += "."
		}
		for _, k := range v.MapKeys() {
			name, ok := k.Interface().(string)
			if !ok {
				continue // the decoding refuses it
			}
			i := fieldByKey(t, name)
			if i < 0 {
				unknown = append(unknown, path+name)
				continue
			}
			unknown = append(unknown, unknownKeys(v.MapIndex(k).Interface(), t.Field(i).Type, path+strings.ToLower(name))...)
		}
		slices.Sort(unknown)
	}
	return unknown
}

// fieldByKey finds the field of a key, without regard to case as viper does.
func fieldByKey(t reflect.Type, key string) int {
	for i := range t.NumField() {
		if t.Field(i).IsExported() && strings.EqualFold(t.Field(i).Tag.Get("mapstructure"), key) {
			return i
		}
	}
	return -1
}

// hasText says whether the type is written as one text.
func hasText(t reflect.Type) bool { return reflect.PointerTo(t).Implements(textType) }

// envName is the environment variable of a key.
func envName(path string) string {
	return EnvPrefix + strings.ToUpper(strings.ReplaceAll(path, ".", "_"))
}

var index = regexp.MustCompile(`\[\d+\]`)

// nearest finds the key that was probably meant by an unknown one, in the
// spelling of the unknown one's list indices; "" when nothing is near.
func nearest(unknown string, known []setting) string {
	unknown = strings.ToLower(unknown)
	for _, k := range known { // as the environment has it, or a flag would
		if plain.Replace(k.path) == plain.Replace(strings.TrimPrefix(unknown, strings.ToLower(EnvPrefix))) {
			return k.path
		}
	}
	generic := index.ReplaceAllString(unknown, "[]")
	section, name := splitKey(generic)
	best, bestCost := "", 1+max(2, len(name)/3)
	for _, k := range known {
		s, n := splitKey(k.path)
		cost := distance(name, n)
		if s != section {
			cost++ // the same name in another room comes second
			if strings.Contains(s, "[]") {
				continue // it could not be named without its index
			}
		}
		if cost < bestCost {
			best, bestCost = k.path, cost
		}
	}
	if s, n := splitKey(best); best != "" && s == section {
		written, _ := splitKey(unknown)
		if written != "" {
			written += "."
		}
		return written + n
	}
	return best
}

// beside lists the keys of the section in which an unknown key stands.
func beside(unknown string, known []setting) string {
	section, _ := splitKey(index.ReplaceAllString(strings.ToLower(unknown), "[]"))
	var names []string
	for _, k := range known {
		if s, n := splitKey(k.path); s == section {
			names = append(names, n)
		}
	}
	return strings.Join(names, ", ")
}

// plain leaves out what parts the words of a key.
var plain = strings.NewReplacer(".", "", "-", "", "_", "")

// Nearest finds the text that was probably meant; "" when nothing is near.
func Nearest(unknown string, known []string) string {
	best, bestCost := "", 1+max(2, len(unknown)/3)
	for _, k := range known {
		if cost := distance(strings.ToLower(unknown), strings.ToLower(k)); cost < bestCost {
			best, bestCost = k, cost
		}
	}
	return best
}

// Setting finds the key that a name is of, written in one word as flags are: log-level is
// log.level. It returns "" if there is none that the environment can give.
func Setting(name string) (key, variable string) {
	for _, k := range append(settings(reflect.TypeFor[Client](), "", true), settings(reflect.TypeFor[Server](), "", true)...) {
		if k.env && plain.Replace(k.path) == plain.Replace(strings.ToLower(name)) {
			return k.path, envName(k.path)
		}
	}
	return "", ""
}

// splitKey parts the last name of a key from the section it stands in.
func splitKey(path string) (section, name string) {
	if i := strings.LastIndexByte(path, '.'); i >= 0 {
		return path[:i], path[i+1:]
	}
	return "", path
}

// distance is Levenshtein's, on bytes. Long texts are far from every key, so
// only a key's worth of them is looked at.
func distance(a, b string) int {
	const longest = 64 // no key and no value of ours is longer
	a, b = a[:min(len(a), longest)], b[:min(len(b), longest)]
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}

// parseAddrPort reads address:port. ":7443" is every address, "localhost:1080"
// is 127.0.0.1; other names are refused, for a listener has to be at one place.
func parseAddrPort(in string) (netip.AddrPort, bool) {
	if strings.HasPrefix(in, ":") {
		in = "[::]" + in
	} else if port, ok := strings.CutPrefix(in, "localhost:"); ok {
		in = "127.0.0.1:" + port
	}
	ap, err := netip.ParseAddrPort(in)
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), err == nil
}
