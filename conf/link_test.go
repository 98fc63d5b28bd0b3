package conf

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLink(t *testing.T) {
	key := must(Generate())
	for _, l := range []*Link{
		{Name: "laptop", Key: key, Addresses: []string{"203.0.113.5:7443"}, Servers: []PublicKey{must(ParsePublic(keyA))}},
		{Name: `o'hara "x" #2?`, Key: key, Addresses: []string{"[2001:db8::5]:443", "tunnel.example.com:7443"}, Servers: []PublicKey{must(ParsePublic(keyA)), must(ParsePublic(keyB))}},
		{Key: key, Addresses: []string{"a:1"}, Servers: []PublicKey{must(ParsePublic(keyC))}},
	} {
		text := l.Text()
		if strings.ContainsAny(text, " \n\"'") {
			t.Errorf("%q does not stand in one word", text)
		}
		got, err := ParseLink(" " + text + "\n")
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if diff := cmp.Diff(l, got); diff != "" || got.Key.Text() != key.Text() {
			t.Error(diff)
		}
		for _, cut := range []int{5, 20, len(text) / 2} {
			if _, err := ParseLink(text[:cut]); err == nil || strings.Contains(err.Error(), text[12:30]) {
				t.Errorf("cut off after %d: %v", cut, err)
			}
		}
	}
}

// A link that was cut off anywhere, or has another letter somewhere, is not taken for
// another one; what mail and chat put around it does no harm, and links without a sum, as the
// first release made them, still work.
func TestDamagedLink(t *testing.T) {
	l := &Link{Name: "phone", Key: must(Generate()), Addresses: []string{"203.0.113.5:7443", "t.example.com:443"}, Servers: []PublicKey{must(ParsePublic(keyA)), must(ParsePublic(keyB))}}
	text := l.Text()
	same := func(text string) bool {
		got, err := ParseLink(text)
		if err != nil && strings.Contains(err.Error(), text[min(12, len(text)):min(30, len(text))]) && len(text) > 30 {
			t.Errorf("the error repeats the key: %v", err)
		}
		return err != nil || cmp.Equal(got, l)
	}
	for i := range len(text) {
		if !same(text[:i]) {
			t.Errorf("cut off after %d it is taken for another one", i)
		}
		for _, c := range "Aa0_.:&" {
			if !same(text[:i] + string(c) + text[i+1:]) {
				t.Errorf("with %c at %d it is taken for another one", c, i)
			}
		}
	}
	for _, around := range []string{"<" + text + ">", "\"" + text + "\"\r\n", "`" + text + "`", " " + text + " "} {
		if got, err := ParseLink(around); err != nil || !cmp.Equal(got, l) {
			t.Errorf("%q: %v", around[:3], err)
		}
	}
	before, rest, _ := strings.Cut(text, sumMark)
	_, rest, _ = strings.Cut(rest, "&")
	if got, err := ParseLink(before + "?" + rest); err != nil || !cmp.Equal(got, l) {
		t.Errorf("without a sum: %v", err)
	}
}

func FuzzLink(f *testing.F) {
	f.Add("mpsocks://AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA@h:1?key=ebVWLo_mVPlAeLES6KmLp5AfhTrmlb7X4OORC60ElmQ#n")
	f.Add("mpsocks://@?#%")
	f.Fuzz(func(t *testing.T, text string) {
		l, err := ParseLink(text)
		if err != nil {
			return
		}
		again, err := ParseLink(l.Text())
		if err != nil {
			t.Fatalf("%q: %v", l.Text(), err)
		}
		if diff := cmp.Diff(l, again); diff != "" {
			t.Error(diff)
		}
	})
}
