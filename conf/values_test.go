package conf

import (
	"crypto/ed25519"
	"encoding/hex"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSize(t *testing.T) {
	for in, want := range map[string]Size{
		"0B": 0, "1 B": 1, "500MB": 500e6, "10GiB": 10 << 30, "1.5kib": 1536, "2 TB": 2e12, "7kB": 7000,
	} {
		var got Size
		if err := got.UnmarshalText([]byte(in)); err != nil || got != want {
			t.Errorf("%s is %d (%v), want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "5", "GiB", "-1B", "1e300B", "nanB", "infMB", "0x1B", "9999999TiB", "1_0B"} {
		var got Size
		if err := got.UnmarshalText([]byte(in)); err == nil {
			t.Errorf("%q is %d", in, got)
		}
	}
}

func TestAccess(t *testing.T) {
	for _, tt := range []struct {
		in       string
		yes, not []string
	}{
		{"10.0.0.0/8", []string{"10.1.2.3:4", "[::ffff:10.1.2.3]:4"}, []string{"11.0.0.1:4", "[::1]:4"}},
		{"192.168.1.5:53", []string{"192.168.1.5:53"}, []string{"192.168.1.5:54", "192.168.1.6:53"}},
		{"192.168.0.0/16:53,80-90", []string{"192.168.1.5:85", "192.168.9.9:53"}, []string{"192.168.1.5:91"}},
		{"fd00::/8", []string{"[fd12::1]:1"}, []string{"[fe80::1]:1"}},
		{"[fd00::]/8:53", []string{"[fd12::1]:53"}, []string{"[fd12::1]:54"}},
		{"[fd00::1]:53", []string{"[fd00::1]:53"}, []string{"[fd00::2]:53"}},
		{"::1", []string{"[::1]:9"}, []string{"[::2]:9"}},
		{"0.0.0.0/0", []string{"1.2.3.4:5"}, []string{"[::1]:5"}},
	} {
		var a Access
		if err := a.UnmarshalText([]byte(tt.in)); err != nil {
			t.Errorf("%s: %v", tt.in, err)
			continue
		}
		for _, s := range tt.yes {
			if !a.Match(netip.MustParseAddrPort(s)) {
				t.Errorf("%s does not match %s", tt.in, s)
			}
		}
		for _, s := range tt.not {
			if a.Match(netip.MustParseAddrPort(s)) {
				t.Errorf("%s matches %s", tt.in, s)
			}
		}
		var again Access
		if err := again.UnmarshalText([]byte(a.String())); err != nil || again.String() != a.String() {
			t.Errorf("%s writes %s, which reads as %s (%v)", tt.in, a, again, err)
		}
	}
	for _, in := range []string{"", "x", "1.2.3.4:", "1.2.3.4:0", "1.2.3.4:5,", "[::1", "[::1]x", "[::1]:", "fe80::1%eth0", "1.2.3.4/33", "10.0.0.1/8", "::ffff:10.0.0.0/104"} {
		var a Access
		if err := a.UnmarshalText([]byte(in)); err == nil {
			t.Errorf("%q reads as %s", in, a)
		}
	}
}

func TestDSCP(t *testing.T) {
	for in, want := range map[string]int{"0": 0, "63": 63, "EF": 46, "cs0": 0, "cs7": 56, "af11": 10, "af43": 38, "df": 0, "le": 1, "va": 44} {
		var d DSCP
		if err := d.UnmarshalText([]byte(in)); err != nil || d.Value() != want {
			t.Errorf("%s is %d (%v), want %d", in, d.Value(), err, want)
		}
	}
	for _, in := range []string{"", "64", "-1", "af14", "af51", "cs8", "csx"} {
		var d DSCP
		if err := d.UnmarshalText([]byte(in)); err == nil {
			t.Errorf("%q is %d", in, d.Value())
		}
	}
	if (DSCP{}).Value() != -1 {
		t.Error("the zero code point is not any")
	}
}

func TestKey(t *testing.T) {
	k, err := Generate()
	if err != nil {
		t.Fatal(err)
	}
	again, err := parsePrivate(k.Text() + "\n")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(k), string(again)); diff != "" {
		t.Error("a written key reads as another")
	}
	pub, err := ParsePublic(k.Public().String())
	if err != nil || string(pub) != string(k.Public()) {
		t.Errorf("public key: %v", err)
	}
	if strings.Contains(k.String()+k.GoString(), k.Text()) {
		t.Error("the key prints itself")
	}
	// RFC 8032 section 7.1, test 1.
	k, err = parsePrivate("nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")
	if err != nil || k.Public().String() != "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=" {
		t.Errorf("RFC 8032's key has the public key %v (%v)", k.Public(), err)
	}
}

// What is no key is said without repeating it: it may be a secret one.
func TestNoKey(t *testing.T) {
	for text, want := range map[string]string{
		"":                      "is empty",
		" \n":                   "is empty",
		"Zm9v!":                 "is not base64",
		"Zm9v":                  "has 3 bytes",
		strings.Repeat("A", 88): "has 66 bytes",
		"AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=": "is no Ed25519 public key", // y = 2
	} {
		if _, err := ParsePublic(text); err == nil || !strings.Contains(err.Error(), want) || strings.TrimSpace(text) != "" && strings.Contains(err.Error(), text) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// A public key is a point that a private one makes: what crypto/ed25519 takes for a point, but for
// those of small order, in its one form.
func TestPoints(t *testing.T) {
	random := rand.New(rand.NewChaCha8([32]byte{}))
	taken := 0
	for range 200 {
		key := make([]byte, ed25519.PublicKeySize)
		for i := range key {
			key[i] = byte(random.Uint32())
		}
		err := ed25519.VerifyWithOptions(key, nil, make([]byte, ed25519.SignatureSize), &ed25519.Options{})
		point := err.Error() != "ed25519: bad public key"
		if got := checkPoint(key) == nil; got != point {
			t.Errorf("%x is a point: %v, and %v by crypto/ed25519", key, got, point)
		}
		if point {
			taken++
		}
	}
	if taken < 50 || taken > 150 {
		t.Errorf("%d of 200 are points", taken)
	}
	for _, text := range []string{
		"0100000000000000000000000000000000000000000000000000000000000000", // the neutral one
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // of order 2
		"0000000000000000000000000000000000000000000000000000000000000000", // 4
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", // 8
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
		"0100000000000000000000000000000000000000000000000000000000000080", // no x of that sign
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // y is the prime and one
	} {
		key, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		if checkPoint(key) == nil {
			t.Errorf("%s is taken", text)
		}
	}
}
