package main

import (
	"bytes"
	"fmt"
	"os"
	"sync"
)

// prefixed takes a half's output, shows it line by line if asked to, and keeps the end of it for error messages.
type prefixed struct {
	name string
	show bool

	mu   sync.Mutex // guards all following fields
	part []byte
	tail []byte
}

func (p *prefixed) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	const keep = 2000 // bytes: a panic's first lines
	if len(p.tail) < keep {
		p.tail = append(p.tail, b[:min(len(b), keep-len(p.tail))]...)
	}
	if p.show {
		p.part = append(p.part, b...)
		for {
			line, rest, ok := bytes.Cut(p.part, []byte("\n"))
			if !ok {
				break
			}
			fmt.Fprintf(os.Stderr, "[%s] %s\n", p.name, line)
			p.part = append([]byte(nil), rest...)
		}
	}
	return len(b), nil
}

func (p *prefixed) last() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return string(p.tail)
}
