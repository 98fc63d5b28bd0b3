package tun

import (
	"encoding/binary"
	"sort"

	"golang.org/x/net/dns/dnsmessage"
)

// The resolver in the tunnel gives whole answers, whatever their length. A program that asks by
// UDP has room for 512 bytes, or for as many as its question says (RFC 1035, Section 4.2.1; RFC
// 6891, Section 6.2.3): of a longer answer it gets the records that fit, and is told that there
// are more, so that it asks by TCP (names.go). Some would read no more than they have room for,
// and take the rest for nonsense.

// leastRoom is what every program has room for.
const leastRoom = 512

// room is how long an answer to a question may be.
func room(question []byte) int {
	var p dnsmessage.Parser
	if _, err := p.Start(question); err != nil || p.SkipAllQuestions() != nil || p.SkipAllAnswers() != nil || p.SkipAllAuthorities() != nil {
		return leastRoom
	}
	for {
		h, err := p.AdditionalHeader()
		if err == nil && h.Type == dnsmessage.TypeOPT {
			return max(leastRoom, int(h.Class)) // RFC 6891, Section 6.1.2
		}
		if err != nil || p.SkipAdditional() != nil {
			return leastRoom
		}
	}
}

// fit returns an answer that is at most so long, by rewriting it. What is no answer is returned as
// it is.
func fit(answer []byte, most int) []byte {
	if len(answer) <= most {
		return answer
	}
	n := records(answer[:max(most, 0)])
	if n < 0 {
		return answer
	}
	end := sort.Search(most, func(end int) bool { return records(answer[:end]) >= n })
	answer[2] |= 0x02 // TC (RFC 1035, Section 4.1.1)
	binary.BigEndian.PutUint16(answer[6:], uint16(n))
	clear(answer[8:12]) // no authorities, nothing additional
	return answer[:end]
}

// records is how many whole records the answer section has within the beginning of a message; negative if that does not have
// the header and all questions.
func records(begin []byte) int {
	var p dnsmessage.Parser
	if _, err := p.Start(begin); err != nil || p.SkipAllQuestions() != nil {
		return -1
	}
	n := 0
	for p.SkipAnswer() == nil {
		n++
	}
	return n
}
