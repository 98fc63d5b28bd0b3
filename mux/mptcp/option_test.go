package mptcp

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// unhex reads hexadecimal digits, ignoring blanks.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// wire is one row of a table: an option and its bytes.
type wire struct {
	name     string
	hex      string
	opt      Option
	checksum bool // negotiated
}

// testWire checks that every row is built and parsed exactly, that no prefix of
// it is taken for an option, and that bytes behind it change nothing.
func testWire(t *testing.T, rows []wire) {
	t.Helper()
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			want := unhex(t, r.hex)
			if diff := cmp.Diff(hex.EncodeToString(want), hex.EncodeToString(r.opt.Append(nil))); diff != "" {
				t.Errorf("built option (-want +got):\n%s", diff)
			}
			var o Option
			n, err := o.Parse(append(want[:len(want):len(want)], 30, 99, 0xFF), r.checksum)
			if n != len(want) || err != nil {
				t.Fatalf("Parse = %d, %v; want %d", n, err, len(want))
			}
			if diff := cmp.Diff(r.opt, o, cmpopts.EquateComparable(r.opt.AddAddr.Addr)); diff != "" {
				t.Errorf("parsed option (-want +got):\n%s", diff)
			}
			for i := range want {
				if n, err := o.Parse(want[:i], r.checksum); n != 0 || err != ErrShort {
					t.Errorf("Parse of the first %d bytes = %d, %v; want ErrShort", i, n, err)
				}
			}
		})
	}
}

// testRefused checks that each of the options is an *Error of that subtype.
func testRefused(t *testing.T, subtype Subtype, rows map[string]string) {
	t.Helper()
	for name, digits := range rows {
		var o Option
		n, err := o.Parse(unhex(t, digits), false)
		e, ok := errors.AsType[*Error](err)
		if n != 0 || !ok {
			t.Errorf("%s: Parse = %d, %v; want an *Error", name, n, err)
		} else if e.Subtype != subtype {
			t.Errorf("%s: error %q is of %v, want %v", name, e, e.Subtype, subtype)
		}
	}
}

func TestParseStart(t *testing.T) {
	for digits, want := range map[string]string{
		"":           "mptcp: option not whole yet",
		"1e":         "mptcp: option not whole yet",
		"1e03":       "mptcp: option not whole yet",
		"1f":         "mptcp: option kind 31 where 30 belongs",
		"010101":     "mptcp: option kind 1 where 30 belongs",
		"1e02":       "mptcp: option length 2 is not within 3..40",
		"1e0050":     "mptcp: option length 0 is not within 3..40",
		"1e29f0":     "mptcp: option length 41 is not within 3..40",
		"1effff":     "mptcp: option length 255 is not within 3..40",
		"1e0490":     "mptcp: option not whole yet",
		"1e049000":   "mptcp: subtype 0x9 of length 4: not assigned",
		"1e05000000": "mptcp: MP_CAPABLE of length 5: no form of it has this length",
	} {
		var o Option
		n, err := o.Parse(unhex(t, digits), false)
		if n != 0 || err == nil || err.Error() != want {
			t.Errorf("Parse(%s) = %d, %v; want %s", digits, n, err, want)
		}
	}
}

func TestSubtypeString(t *testing.T) {
	if got := MPTCPRst.String() + " " + Subtype(0xE).String(); got != "MP_TCPRST subtype 0xe" {
		t.Error(got)
	}
}

// FuzzParse holds what every reader relies on: no panic, n within bounds, and
// that what was parsed is built and parsed again to the same.
func FuzzParse(f *testing.F) {
	for _, rows := range [][]wire{
		capableWire, joinWire, dssWire, addAddrWire, removeAddrWire, prioWire, failWire, fastCloseWire, resetWire,
		experimentalWire,
	} {
		for _, r := range rows {
			f.Add(unhex(f, r.hex), r.checksum)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, checksum bool) {
		var first, second Option
		n, err := first.Parse(b, checksum)
		if err != nil {
			if _, malformed := errors.AsType[*Error](err); n != 0 || !malformed && err != ErrShort {
				t.Fatalf("Parse = %d, %v", n, err)
			}
			return
		}
		if n < minLen || n > MaxLen || n > len(b) {
			t.Fatalf("n = %d of %d bytes", n, len(b))
		}
		again := first.Append(nil)
		if len(again) != n {
			t.Fatalf("% x\nbuilt again has another length:\n% x", b[:n], again)
		}
		if m, err := second.Parse(again, checksum); m != n || err != nil {
			t.Fatalf("Parse of % x = %d, %v", again, m, err)
		}
		if first != second {
			t.Fatalf("parsed %+v\nthen   %+v", first, second)
		}
		// A reused Option, full of something else, gives the same.
		used := Option{Join: Join{Nonce: 7}, DSS: DSS{HasAck: true, Ack8: true, Ack: 9, HasChecksum: true, Checksum: 3}}
		used.Experimental.SetPayload([]byte("left over"))
		if m, err := used.Parse(b, checksum); m != n || err != nil || string(used.Append(nil)) != string(again) {
			t.Fatalf("a reused Option parsed % x otherwise: %+v", b[:n], used)
		}
	})
}
