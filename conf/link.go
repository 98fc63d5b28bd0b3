package conf

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// linkScheme begins a link.
const linkScheme = "mpsocks"

// maxLink is the longest link that is read: a dozen addresses and keys.
const maxLink = 4096

// Link is all that a client needs, in one line that can be sent or shown as a QR code:
//
//	mpsocks://PRIVATE@HOST:PORT,HOST:PORT?sum=SUM&key=PUBLIC&key=PUBLIC&sni=SERVER_NAME&alpn=PROTOCOL#NAME
//
// with keys in the URL's alphabet of base64, without padding, and a sum of all the rest, so
// that one that was damaged on its way is known; links of the first release had none. It has
// the client's private key and is as secret as that.
type Link struct {
	Name      string
	Key       PrivateKey  // the client's
	Addresses []string    // of the server, host:port
	Servers   []PublicKey // the server's keys
	Cover     RemoteCover // as the server has it
}

// Text is the link.
func (l *Link) Text() string {
	short := func(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
	seed, err := parseKey(l.Key.Text())
	if err != nil {
		return ""
	}
	out := linkScheme + "://" + short(seed) + "@" + strings.Join(l.Addresses, ",")
	for i, k := range l.Servers {
		out += map[bool]string{true: "?", false: "&"}[i == 0] + "key=" + short(k)
	}
	if l.Cover.ServerName != "" {
		out += "&sni=" + url.QueryEscape(l.Cover.ServerName)
	}
	for _, a := range l.Cover.ALPN {
		out += "&alpn=" + url.QueryEscape(a)
	}
	if l.Name != "" {
		out += "#" + url.PathEscape(l.Name)
	}
	before, after, _ := strings.Cut(out, "?")
	return before + sumMark + linkSum(out) + "&" + after
}

// sumMark is before a link's sum, which stands first: what is cut off comes later.
const sumMark = "?sum="

// linkSum is the sum of a link, as it stands without one.
func linkSum(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(sum[:4])
}

// damaged says that a link has a sum, and another one than that of its text.
func damaged(text string) bool {
	before, rest, has := strings.Cut(text, sumMark)
	sum, after, _ := strings.Cut(rest, "&")
	return has && sum != linkSum(before+"?"+after)
}

// ParseLink reads a link. Its errors never repeat the private key.
func ParseLink(text string) (*Link, error) {
	text = strings.Trim(text, " \t\r\n<>\"'`") // as mail and chat write it
	rest, ok := strings.CutPrefix(text, linkScheme+"://")
	if !ok {
		return nil, errors.New("the link does not begin with " + linkScheme + "://; `mpsocks clients add NAME --link` on the server's machine makes one")
	}
	if len(text) > maxLink {
		return nil, errors.New("the link is too long to be one")
	}
	rest, name, _ := strings.Cut(rest, "#")
	rest, query, _ := strings.Cut(rest, "?")
	key, addresses, ok := strings.Cut(rest, "@")
	if !ok {
		return nil, errors.New("the link has no @ between the key and the server: was it cut off?")
	}
	l := &Link{}
	seed, err := longKey(key)
	if err != nil {
		return nil, fmt.Errorf("the link's own key %w", err)
	}
	if l.Key, err = parsePrivate(base64.StdEncoding.EncodeToString(seed)); err != nil {
		return nil, fmt.Errorf("the link's own key %w", err)
	}
	if l.Name, err = url.PathUnescape(name); err != nil {
		return nil, errors.New("the link's name cannot be read: was it cut off?")
	}
	var problems Errors
	for a := range strings.SplitSeq(addresses, ",") {
		noteHostPort(&problems, "the link", a)
		l.Addresses = append(l.Addresses, a)
	}
	if l.Name != "" {
		noteName(&problems, "the link's name", l.Name, map[string]bool{})
	}
	for part := range strings.SplitSeq(query, "&") {
		what, value, _ := strings.Cut(part, "=")
		switch shown, err := url.QueryUnescape(value); {
		case err != nil:
			return nil, errors.New("the link cannot be read: was it cut off?")
		case what == "sni":
			l.Cover.ServerName = shown
			continue
		case what == "alpn":
			l.Cover.ALPN = append(l.Cover.ALPN, shown)
			continue
		case what != "key":
			continue // of a later version
		}
		k, err := longKey(value)
		if err != nil {
			return nil, fmt.Errorf("the server's key in the link %w", err)
		}
		l.Servers = append(l.Servers, k)
	}
	noteShown(&problems, "the link's cover", l.Cover.ALPN, l.Cover.ServerName)
	if len(l.Servers) == 0 {
		problems.addf("the link", "has no key of the server: was it cut off?")
	}
	if len(problems) == 0 && damaged(text) {
		problems.addf("", "the link was cut off or changed on its way: copy it whole")
	}
	if err := problems.err(""); err != nil {
		return nil, err
	}
	return l, nil
}

// longKey reads 32 bytes in the link's alphabet.
func longKey(text string) ([]byte, error) {
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(raw) != 32 {
		return nil, errors.New("has not 43 characters of base64: was it cut off?")
	}
	return raw, nil
}
