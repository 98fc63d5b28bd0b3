package client

import (
	"testing"
	"time"
)

// TestDescriptorsKeepAReserve has applications take all that they may: a silent
// connection gives way, and what is free again is to be had.
func TestDescriptorsKeepAReserve(t *testing.T) {
	c := start(t, &fakeTunnel{answer: echo}, nil)
	c.crowd.descriptors.most.Store(4)
	one, _ := associated(t, c, anywhere) // a connection and a relay socket
	associated(t, c, anywhere)
	for range 3 {
		if n, err := dial(t, c).Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("over the bound: read %d, %v", n, err)
		}
	}
	if n := c.Status().Refused["descriptors"]; n != 3 {
		t.Errorf("%d counted", n)
	}
	one.Close()
	eventually(t, "there is room again", func() bool { return c.crowd.descriptors.used.Load() == 2 })
	silent := dial(t, c)
	eventually(t, "it is in", func() bool { return c.crowd.descriptors.used.Load() == 3 })
	dial(t, c)
	eventually(t, "it is in", func() bool { return c.crowd.descriptors.used.Load() == 4 })
	refused := dial(t, c) // but has made room for the next one
	refused.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := silent.Read(make([]byte, 1)); err == nil {
		t.Error("the oldest silent one is still there")
	}
	eventually(t, "there is room", func() bool { return c.crowd.descriptors.used.Load() == 3 })
	talk(t, dial(t, c), []byte{5, 1, 0}, 2)
}
