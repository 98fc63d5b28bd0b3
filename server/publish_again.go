package server

import (
	"time"

	"github.com/mpsocks/mpsocks/mux/packet"
)

// news returns what is closed when that port, or another one that ends as it does, is somebody
// else's to publish than now.
func (t *publishing) news(port uint16) <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := &t.changed[int(port)%len(t.changed)]
	if *c == nil {
		*c = make(chan struct{})
	}
	return *c
}

// tell wakes those who wait for news of a port. t.mu is held.
func (t *publishing) tell(port uint16) {
	if c := &t.changed[int(port)%len(t.changed)]; *c != nil {
		close(*c)
		*c = nil
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
		news = t.news(port)
		st.Begin() // one client may have thousands that hear of it together
		if code != packet.PublishNotAllowed || t.may(client, port) {
			_, _ = st.Write([]byte{packet.PublishAgain})
			return
		}
		st.Rest()
	}
}
