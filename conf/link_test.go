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
