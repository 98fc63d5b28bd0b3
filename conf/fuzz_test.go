package conf

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// FuzzLoad holds that no file, in whatever format, does more than be refused,
// and that what is accepted is valid.
func FuzzLoad(f *testing.F) {
	formats := []string{"yaml", "toml", "json"}
	files, _ := filepath.Glob("testdata/*.*")
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for i := range formats {
			f.Add(uint8(i), data)
		}
	}
	f.Add(uint8(0), []byte(good))
	f.Add(uint8(0), []byte(goodServer))
	f.Add(uint8(0), []byte("listen: 5\nlog: x\npaths: {a: [b]}\nserver:"))
	f.Fuzz(func(t *testing.T, format uint8, data []byte) {
		raw, err := parse(data, formats[int(format)%len(formats)])
		if err != nil {
			return
		}
		loadBoth(t, raw, DefaultClient(), KindClient, (*Client).Validate)
		raw, _ = parse(data, formats[int(format)%len(formats)]) // decode takes raw apart
		loadBoth(t, raw, DefaultServer(), KindServer, (*Server).Validate)
	})
}

func loadBoth[T config](t *testing.T, raw map[string]any, cfg *T, kind Kind, validate func(*T) error) {
	problems := decode(raw, nil, cfg, kind)
	info, err := os.Stat(os.DevNull) // nobody's secret
	if err != nil {
		t.Fatal(err)
	}
	if s, ok := any(cfg).(*Server); ok {
		s.ClientsDir = "" // any directory of this machine
	}
	finish(cfg, "none.yaml", info, nil, &problems)
	if len(problems) == 0 {
		if err := validate(cfg); err != nil {
			t.Errorf("accepted, and yet: %v", err)
		}
		return
	}
	if problems.Error() == "" {
		t.Error("refused without a word")
	}
}

// FuzzValues holds that the text forms are refused or read back as written.
func FuzzValues(f *testing.F) {
	for _, s := range []string{"10GiB", "80-90", "af41", "[fd00::]/8:53,80-90", "10.0.0.0/8:1", "auto", "3", "from:fd00::/8", "tcp:22", "port:1-2", "service:22", "user:7-9", "user:ann", "cgroup:a.slice/b.service"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		var size Size
		if size.UnmarshalText([]byte(in)) == nil && size < 0 {
			t.Errorf("%q is %d bytes", in, size)
		}
		var d DSCP
		if d.UnmarshalText([]byte(in)) == nil && (d.Value() < 0 || d.Value() > 63) {
			t.Errorf("%q is code point %d", in, d.Value())
		}
		var r, r2 PortRange
		if r.UnmarshalText([]byte(in)) == nil && (r2.UnmarshalText([]byte(r.String())) != nil || r != r2) {
			t.Errorf("%q is %v, which reads as %v", in, r, r2)
		}
		var a, a2 Access
		if a.UnmarshalText([]byte(in)) == nil && (a2.UnmarshalText([]byte(a.String())) != nil || a.String() != a2.String()) {
			t.Errorf("%q is %v, which reads as %v", in, a, a2)
		}
		var e, e2 Exclusion
		if e.UnmarshalText([]byte(in)) == nil && (e2.UnmarshalText([]byte(e.String())) != nil || !reflect.DeepEqual(e, e2)) {
			t.Errorf("%q is %v, which reads as %v", in, e, e2)
		}
		var n, n2 Subflows
		if n.UnmarshalText([]byte(in)) == nil && (n2.UnmarshalText([]byte(n.String())) != nil || n != n2) {
			t.Errorf("%q is %v, which reads as %v", in, n, n2)
		}
	})
}
