package muxtest

import (
	"testing"
	"time"
)

// eventuallyLimit is how long a machine may take that is busy with other tests.
const eventuallyLimit = 20 * time.Second

// Eventually waits until ok, which it asks again and again, and fails the test if that never
// comes.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(eventuallyLimit); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", eventuallyLimit, what)
		}
	}
}
