package server

import (
	"time"

	"github.com/mpsocks/mpsocks/mux/packet"
)

// news returns what is closed when ports are somebody else's to publish than now.
func (t *publishing) news() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.changed == nil {
		t.changed = make(chan struct{})
	}
	return t.changed
}

// tell wakes those who wait for news. t.mu is held.
func (t *publishing) tell() {
	if t.changed != nil {
		close(t.changed)
		t.changed = nil
	}
}

// reconsider waits with a stream whose client was told no: with what has changed since
// news was got it says that the client may ask again. A client that goes is not waited
// for; one that has no leave stays until it gets it.
func (t *publishing) reconsider(st stream, client string, port uint16, code byte, news <-chan struct{}) {
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = st.Read(make([]byte, 1))
	}()
	defer func() {
		_ = st.SetReadDeadline(time.Unix(1, 0))
		<-gone
	}()
	for {
		select {
		case <-gone:
			return
		case <-news:
		}
		news = t.news()
		if code != packet.PublishNotAllowed || t.may(client, port) {
			_, _ = st.Write([]byte{packet.PublishAgain})
			return
		}
	}
}
