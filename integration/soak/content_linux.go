package main

import "encoding/binary"

// mix is a number that looks random, of a stream's or flow's identity and a place in it
// (splitmix64).
func mix(id, at uint64) uint64 {
	x := id*0x9e3779b97f4a7c15 + (at+1)*0xbf58476d1ce4e5b9
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// fill writes what stands at an offset of a stream.
func fill(b []byte, id, offset uint64) {
	for len(b) > 0 {
		word := binary.LittleEndian.AppendUint64(nil, mix(id, offset/8))
		n := copy(b, word[offset%8:])
		b, offset = b[n:], offset+uint64(n)
	}
}

// right says whether b is what stands at that offset.
func right(b []byte, id, offset uint64) bool {
	for len(b) > 0 {
		word := binary.LittleEndian.AppendUint64(nil, mix(id, offset/8))
		want := word[offset%8:]
		n := min(len(b), len(want))
		if string(b[:n]) != string(want[:n]) {
			return false
		}
		b, offset = b[n:], offset+uint64(n)
	}
	return true
}

// A datagram is its flow, its number, and bytes that follow from both.
const datagramHead = 8

func fillDatagram(b []byte, flow, seq uint32) {
	binary.BigEndian.PutUint32(b, flow)
	binary.BigEndian.PutUint32(b[4:], seq)
	fill(b[datagramHead:], uint64(flow)<<32|uint64(seq), 0)
}

// datagramOf reads one; whole says whether all its bytes are right.
func datagramOf(b []byte) (flow, seq uint32, whole bool) {
	if len(b) < datagramHead {
		return 0, 0, false
	}
	flow, seq = binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])
	return flow, seq, right(b[datagramHead:], uint64(flow)<<32|uint64(seq), 0)
}
