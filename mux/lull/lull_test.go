package lull

import "testing"

// steps plays looks, each so many ns after the one before and with so many bytes, for a time
// in ns, and returns the time after.
func steps(r *Reader, now, every int64, bytes int, long int64) int64 {
	for end := now + long; now < end; now += every {
		r.Brought(bytes)
		r.Looked(now, true)
	}
	return now
}

// What comes often and alone is rested for, and what comes seldom, in a burst that ends, or so
// dense that a look finds several as it is, is not.
func TestRests(t *testing.T) {
	for _, c := range []struct {
		name  string
		every int64
		bytes int
		long  int64
		rests bool
	}{
		{"a flow of 9,400 a second", 106e3, 1200, 100e6, true},
		{"one of 5,000", 200e3, 1200, 100e6, true},
		{"one of 500", 2e6, 200, 1e9, false},
		{"a picture of thirty datagrams", 300e3, 1200, 9e6, false},
		{"two of them", 300e3, 1200, 18e6, false},
		{"a gigabit", 100e3, 12500, 100e6, false},
	} {
		var r Reader
		if steps(&r, 1e9, c.every, c.bytes, c.long); r.Rests() != c.rests {
			t.Errorf("%s: rests is %v", c.name, r.Rests())
		}
	}
}

// A film whose pictures come as bursts is left alone for as long as it runs.
func TestPicturesAreNotRestedFor(t *testing.T) {
	var r Reader
	for now := int64(1e9); now < 3e9; now += 16e6 {
		steps(&r, now, 150e3, 1200, 3e6)
		if r.Rests() {
			t.Fatalf("after %d ms the reader rests", (now-1e9)/1e6)
		}
	}
}

// Who rests goes on with it as long as much comes, whatever a look finds, and stops when little does.
func TestRestEnds(t *testing.T) {
	var r Reader
	now := steps(&r, 1e9, 106e3, 1200, 100e6)
	now = steps(&r, now, Rest, 11000, 200e6)
	if !r.Rests() {
		t.Fatal("ten datagrams in each rest, and the reader does not rest")
	}
	now = steps(&r, now, 4*Rest, 44000, 200e6)
	if !r.Rests() {
		t.Fatal("forty datagrams after each fourth rest, and the reader does not rest")
	}
	now = steps(&r, now, Rest, 1200, 21e6)
	if r.Rests() {
		t.Error("one datagram in each rest, and the reader rests")
	}
	steps(&r, now, 106e3, 1200, 100e6)
	if !r.Rests() {
		t.Error("much comes again, and the reader does not rest")
	}
	if r.Looked(now, false) || r.Rests() {
		t.Error("the reader rests where it may not")
	}
}

// Silence ends a rest with the next look, and the clock may go back.
func TestRestEndsWithSilence(t *testing.T) {
	var r Reader
	now := steps(&r, 1e9, 106e3, 1200, 100e6)
	if r.Looked(now+50e6, true) {
		t.Error("the reader rests after 50 ms of nothing")
	}
	now = steps(&r, now+50e6, 106e3, 1200, 100e6)
	if r.Looked(now-10e9, true) {
		t.Error("the reader rests though the clock went back")
	}
}

func TestFar(t *testing.T) {
	if Far(0) || Far(8e6) || !Far(20e6) {
		t.Error("a round trip of 20 ms is far, of 8 or none that is known not")
	}
}
