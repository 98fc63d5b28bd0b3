package durable

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// A record is there after a restart, is written when it says something else, and a disk that
// fails is complained of once.
func TestRecord(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "record.json")
	r := Record{Path: path, Limit: 100}
	got := map[string]int{"old": 1}
	if err := r.Load(&got); err != nil || got["old"] != 1 {
		t.Fatalf("without a file: %v, %v", got, err)
	}
	if err := r.Keep(map[string]int{"a": 7}); err != nil {
		t.Fatal(err)
	}
	holds(t, path, "{\n  \"a\": 7\n}\n", 0o600)
	again := Record{Path: path, Limit: 100}
	if err := again.Load(&got); err != nil || got["a"] != 7 {
		t.Errorf("%v, %v", got, err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := r.Keep(map[string]int{"a": 7}); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("what was written is written again")
	}
	if err := os.MkdirAll(filepath.Join(path, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	if r.Keep(map[string]int{"a": 8}) == nil || r.Keep(map[string]int{"a": 9}) != nil {
		t.Error("a failure is not said once")
	}
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	if err := r.Keep(map[string]int{"a": 9}); err != nil {
		t.Error(err)
	}
	holds(t, path, "{\n  \"a\": 9\n}\n", 0o600)
	for _, body := range []string{"", "{", `{"a": "seven"}`, `{"a": 1234567890123456789, "b": 1234567890123456789, "c": 1234567890123456789, "d": 1234567890123456789}`} {
		if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := again.Load(&got); err == nil {
			t.Errorf("%q is read without an error", body)
		}
	}
}

func TestRecordIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var none Record
		if none.Due(true) || none.Keep(1) != nil {
			t.Error("nothing is kept, and it is time for that")
		}
		r := Record{Path: "record.json"}
		if !r.Due(false) || r.Due(false) || !r.Due(true) {
			t.Error("it is not time at once, or again, or not when it has to be")
		}
		time.Sleep(recordEvery)
		if !r.Due(false) {
			t.Error("it is never time again")
		}
	})
}
