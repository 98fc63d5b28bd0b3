package client

import (
	"bytes"
	"testing"

	"github.com/txthinking/socks5"
)

// FuzzGrants: a yes is what the library takes for one, all of it, and no more than that is skipped.
func FuzzGrants(f *testing.F) {
	f.Add([]byte("\x05\x00\x05\x00\x00\x03\x00\x05\x06"))
	f.Add([]byte("\x05\x00\x05\x00\x00\x03\xff\x00"))
	f.Add([]byte("\x05\x00\x05\x00\x00\x01\x01\x02\x03\x04\x05\x06data"))
	f.Add(append([]byte("\x05\x00\x05\x00\x00\x04"), make([]byte, 18)...))
	f.Add([]byte("\x05\x00\x05\x05\x00\x01\x00\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, first []byte) {
		method, all, yes := grants(first)
		rest := bytes.NewReader(first[min(2, len(first)):])
		reply, err := socks5.NewReplyFrom(rest)
		whole := err == nil && reply.Rep == repSuccess && first[0] == 5 && first[1] == 0
		if yes != whole {
			t.Fatalf("%x is a yes: %v, and %v by the library", first, yes, whole)
		}
		if yes && (method != 2 || all != len(first)-rest.Len()) {
			t.Errorf("%x: %d and %d bytes, %d are left", first, method, all, rest.Len())
		}
	})
}
