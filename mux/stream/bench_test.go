package stream

import (
	"fmt"
	"io"
	"sync"
	"testing"
)

// BenchmarkStreams moves bytes from socket to socket through streams of a pair
// of tables in memory: what streams cost without a session.
func BenchmarkStreams(b *testing.B) {
	for _, streams := range []int{1, 4} {
		for _, reorder := range []bool{false, true} {
			b.Run(fmt.Sprintf("streams=%d/reorder=%v", streams, reorder), func(b *testing.B) {
				p := newPipe(b, reorder, 100)
				const chunk = 256 << 10
				b.SetBytes(chunk * int64(streams))
				var wg sync.WaitGroup
				for range streams {
					c, s := p.pair()
					in, out := sockets(b)
					wg.Go(func() {
						io.Copy(c, out)
						c.CloseWrite()
						c.Close()
					})
					wg.Go(func() {
						data := make([]byte, chunk)
						for range b.N {
							in.Write(data)
						}
						in.CloseWrite()
					})
					wg.Go(func() {
						io.Copy(io.Discard, s)
						s.Close()
					})
				}
				wg.Wait()
			})
		}
	}
}
