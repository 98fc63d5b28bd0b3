package stream

import (
	"bytes"
	"io"
	"testing"

	"github.com/mpsocks/mpsocks/mux/buf"
)

// A filled reader fills Buffers itself: as many as it likes at a time, the last one in part.
type filled struct {
	left  []byte
	sizes []int // of what each Fill brings, in turns
	calls int
}

func (f *filled) Read([]byte) (int, error) { panic("it fills") }

func (f *filled) Fill(run []*buf.Buffer, size int) (n int, err error) {
	most := f.sizes[f.calls%len(f.sizes)]
	f.calls++
	if len(f.left) == 0 {
		return 0, io.EOF
	}
	for n < len(run) && most > 0 && len(f.left) > 0 {
		b := buf.Get(size)
		k := copy(b.Bytes()[:min(size, most)], f.left)
		b.Resize(k)
		run[n], f.left, most = b, f.left[k:], most-k
		n++
	}
	return n, nil
}

// A takes writer takes many pieces at once.
type takes struct{ got bytes.Buffer }

func (w *takes) Write([]byte) (int, error) { panic("it takes many") }

func (w *takes) WriteViews(pieces [][]byte) (n int64, err error) {
	for _, p := range pieces {
		k, _ := w.got.Write(p) // never fails
		n += int64(k)
	}
	return n, nil
}

// What fills Buffers itself and what takes many at once is not copied in between, and nothing
// of it is lost or changed.
func TestStreamFillsAndTakesMany(t *testing.T) {
	p := newPipe(t, true, 10)
	c, s := p.pair()
	data := make([]byte, 3<<20)
	for i := range data {
		data[i] = byte(i) ^ byte(i>>8) ^ byte(i>>16)
	}
	in := &filled{left: data, sizes: []int{1, 300_000, 5000, 16 << 10, 0, 70}}
	sent := make(chan error, 1)
	go func() {
		n, err := c.ReadFrom(in)
		if err == nil && n != int64(len(data)) {
			err = io.ErrShortWrite
		}
		c.CloseWrite()
		sent <- err
	}()
	var out takes
	n, err := s.WriteTo(&out)
	if err != nil || n != int64(len(data)) || !bytes.Equal(out.got.Bytes(), data) {
		t.Errorf("%d of %d bytes, the same: %v, %v", n, len(data), bytes.Equal(out.got.Bytes(), data), err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	s.Close()
	c.Close()
	p.empty()
}
