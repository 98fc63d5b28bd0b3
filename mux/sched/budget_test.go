package sched

import "testing"

// What copies may take does not depend on how often it is refilled, nor on whether what is
// carried comes evenly or a good deal at once and then nothing for a moment.
func TestBudgetByTheWindow(t *testing.T) {
	const rate = 11.5e6 // bytes a second of a download
	for _, c := range []struct {
		name        string
		every, lump int64 // ns between refills, and between what comes
		rate        float64
		least, most float64 // bytes a second for copies
	}{
		{"evenly", 5e6, 5e6, rate, copyShare * rate, copyShare * rate * 1.2},
		{"looked at often", 500e3, 3e6, rate, copyShare * rate, copyShare * rate * 1.2},
		{"a window at a time", 5e6, 50e6, rate, copyShare * rate, copyShare * rate * 1.2},
		{"seldom", 50e6, 50e6, rate, copyShare * rate, copyShare * rate * 1.2},
		{"small flows alone", 5e6, 20e6, 200e3, copyFloor * 0.99, copyFloor},
		{"small flows, seldom", 50e6, 20e6, 200e3, copyFloor * 0.99, copyFloor},
	} {
		var b Budget
		got, carried := 0.0, uint64(0)
		for now := c.every; now <= 10e9; now += c.every {
			if c.lump <= c.every || now/c.lump != (now-c.every)/c.lump {
				carried = uint64(c.rate * float64(now) / 1e9)
			}
			before := b.tokens
			b.Refill(c.every, carried, false)
			got += b.tokens - before
			b.Spend(int(b.tokens))
		}
		if got /= 10; got < c.least*0.99 || got > c.most {
			t.Errorf("%s: %.0f bytes a second, want %.0f to %.0f", c.name, got, c.least, c.most)
		}
	}
}

// When something large begins, copies have their share of it before the window is over.
func TestBudgetWhenSomethingLargeBegins(t *testing.T) {
	var b Budget
	carried := uint64(0)
	for now := int64(0); now < 100e6; now += 5e6 {
		carried += 100e3
		b.Refill(5e6, carried, false)
	}
	if b.large == 0 {
		t.Error("2 MB in a tenth of a second are nothing large")
	}
	for now := int64(0); now < copyMemory+2*copyWindow; now += 5e6 {
		carried += 500
		b.Refill(5e6, carried, false)
	}
	if b.large > 0 {
		t.Error("it has ended, and is large for ever")
	}
}
