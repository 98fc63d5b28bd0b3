package conf

import (
	"bytes"
	"fmt"
)

// A roster knows whose each name and each key is: both are one client's, and no key is
// the server's own.
type roster struct {
	own   PublicKey         // the server's
	files map[string]string // by name of the client: where it is, "" for the configuration file
	names map[string]string // by key: of the client
}

func newRoster(own PrivateKey) *roster {
	r := &roster{files: map[string]string{}, names: map[string]string{}}
	if len(own) > 0 {
		r.own = own.Public()
	}
	return r
}

// note says what of a client is somebody else's; field is what its keys begin with.
func (r *roster) note(p *Errors, field string, c *Peer) {
	switch file, taken := r.files[c.Name]; {
	case c.Name == "" || !taken:
	case c.file == "":
		p.addf(field+"name", "%q is there twice", c.Name)
	case file == "":
		p.addf(field+"name", "%q is a client of the server's own file too", c.Name)
	default:
		p.addf(field+"name", "%q is in %s too", c.Name, file)
	}
	key := func(at string, k PublicKey) {
		owner, taken := r.names[string(k)]
		switch {
		case len(k) == 0:
		case bytes.Equal(k, r.own):
			p.addf(at, "is this server's own key, not the client's")
		case taken:
			p.addf(at, "is the key of %q too", owner)
		}
	}
	key(field+"public_key", c.PublicKey)
	for i, k := range c.PublicKeys {
		key(fmt.Sprintf("%spublic_keys[%d]", field, i), k)
	}
}

// add has a client's name and keys be its own.
func (r *roster) add(c *Peer) {
	if _, there := r.files[c.Name]; !there {
		r.files[c.Name] = c.file
	}
	for _, k := range c.Keys() {
		r.names[string(k)] = c.Name
	}
}

// note says what of a client is wrong whoever else there is.
func (c *Peer) note(p *Errors, field string) {
	noteName(p, field+"name", c.Name, map[string]bool{})
	if c.Quota < 0 {
		p.addf(field+"quota", "%v is negative", c.Quota)
	}
	if c.Streams < 0 {
		p.addf(field+"streams", "%d is negative", c.Streams)
	}
	if len(c.Keys()) == 0 {
		p.addf(field+"public_key", "is missing; `mpsocks check` of the client's file prints it")
	}
	for i, k := range c.PublicKeys {
		if len(k) == 0 {
			p.addf(fmt.Sprintf("%spublic_keys[%d]", field, i), "is empty")
		}
	}
}
