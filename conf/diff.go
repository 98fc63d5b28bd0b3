package conf

import (
	"fmt"
	"reflect"
	"strings"
)

// Reload is what a change of a setting takes while a half runs.
type Reload string

// What it takes. Every setting has one as its `reload` tag.
const (
	ReloadLive    Reload = "live"    // holds at once, for what is under way as well
	ReloadNew     Reload = "new"     // holds for what begins from then on
	ReloadRestart Reload = "restart" // holds after a restart only
)

// Change is one difference between two configurations.
type Change struct {
	// Key is the setting; an item of a list with names is clients[ann].
	Key string
	// How says when the new value holds.
	How Reload
	// What is the difference in words, without any secret.
	What string
}

// String is a line for a log or a terminal.
func (c Change) String() string {
	line := c.Key + " " + c.What
	switch c.How {
	case ReloadNew:
		line += " (for what begins from now on)"
	case ReloadRestart:
		line += " (holds after a restart only)"
	}
	return line
}

// DiffClient lists what differs between two configurations, in the order of the
// file's keys.
func DiffClient(before, after *Client) []Change { return diff(before, after) }

// DiffServer is DiffClient for a server.
func DiffServer(before, after *Server) []Change { return diff(before, after) }

func diff[T config](before, after *T) (changes []Change) {
	walk(reflect.TypeFor[T](), "", "", func(key string, how Reload, index []int) {
		a, b := reflect.ValueOf(before).Elem().FieldByIndex(index), reflect.ValueOf(after).Elem().FieldByIndex(index)
		changes = append(changes, diffValue(key, how, a, b)...)
	})
	return changes
}

// walk calls fn for each setting that is compared as one: the fields of a section
// apart, a list whole.
func walk(t reflect.Type, prefix string, inherited Reload, fn func(key string, how Reload, index []int)) {
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() {
			continue
		}
		key, how := prefix+f.Tag.Get("mapstructure"), Reload(f.Tag.Get("reload"))
		if how == "" {
			how = inherited
		}
		if f.Type.Kind() == reflect.Struct && !hasText(f.Type) {
			walk(f.Type, key+".", how, func(key string, how Reload, index []int) {
				fn(key, how, append([]int{i}, index...))
			})
			continue
		}
		fn(key, how, []int{i})
	}
}

// diffValue compares one setting.
func diffValue(key string, how Reload, a, b reflect.Value) []Change {
	if reflect.DeepEqual(a.Interface(), b.Interface()) {
		return nil
	}
	if t := a.Type(); t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct {
		if name, ok := t.Elem().FieldByName("Name"); ok && name.Type.Kind() == reflect.String {
			return diffNamed(key, how, a, b)
		}
	}
	return []Change{{key, how, words(a, b)}}
}

// diffNamed compares lists whose items have names.
func diffNamed(key string, how Reload, a, b reflect.Value) (changes []Change) {
	named := func(list reflect.Value) (names []string, by map[string]reflect.Value) {
		by = map[string]reflect.Value{}
		for i := range list.Len() {
			name := list.Index(i).FieldByName("Name").String()
			names, by[name] = append(names, name), list.Index(i)
		}
		return names, by
	}
	was, before := named(a)
	is, after := named(b)
	for _, name := range was {
		at := fmt.Sprintf("%s[%s]", key, name)
		now, still := after[name]
		if !still {
			changes = append(changes, Change{at, how, "is gone"})
			continue
		}
		old := before[name]
		for i := range old.NumField() {
			f := old.Type().Field(i)
			if !f.IsExported() || reflect.DeepEqual(old.Field(i).Interface(), now.Field(i).Interface()) {
				continue
			}
			what := "has changed"
			if f.Tag.Get("secret") == "" {
				what = words(old.Field(i), now.Field(i))
			}
			changes = append(changes, Change{at + "." + f.Tag.Get("mapstructure"), how, what})
		}
	}
	for _, name := range is {
		if _, was := before[name]; !was {
			changes = append(changes, Change{fmt.Sprintf("%s[%s]", key, name), how, "is new"})
		}
	}
	if len(changes) == 0 && !reflect.DeepEqual(was, is) { // the order may mean something
		changes = append(changes, Change{key, how, fmt.Sprintf("%s -> %s", strings.Join(was, ", "), strings.Join(is, ", "))})
	}
	return changes
}

// words says what a value was and is, but for secrets and long lists.
func words(a, b reflect.Value) string {
	was, now := valueText(a), valueText(b)
	if was == "" || now == "" || len(was)+len(now) > 200 {
		return "has changed"
	}
	return was + " -> " + now
}

// valueText writes a value as the file does; "" if it must not or cannot be written.
func valueText(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case PrivateKey:
		return ""
	case Mode, Filtering, Offload:
		return v.String()
	case string:
		if x == "" {
			return "none"
		}
		return x
	case bool, int:
		return fmt.Sprint(x)
	case DSCP:
		return fmt.Sprint(x.Value())
	case interface{ IsValid() bool }: // addresses
		if !x.IsValid() {
			return "none"
		}
		return fmt.Sprint(x)
	case fmt.Stringer:
		if text := x.String(); text != "" {
			return text
		}
		return "none"
	}
	if v.Kind() == reflect.Slice && v.Type().Elem().Kind() != reflect.Struct || v.Kind() == reflect.Slice && listable(v.Type().Elem()) {
		var items []string
		for i := range v.Len() {
			text := valueText(v.Index(i))
			if text == "" {
				return ""
			}
			items = append(items, text)
		}
		return "[" + strings.Join(items, ", ") + "]"
	}
	return ""
}

// listable says whether the items of a list can be written as texts.
func listable(t reflect.Type) bool {
	return hasText(t) || t == listenType
}

// String is the entry's short form.
func (l Listen) String() string {
	if l.KernelMPTCP {
		return l.Address.String() + " (kernel MPTCP)"
	}
	return l.Address.String()
}
