package loads

import "encoding/binary"

// payload is the content of one datagram:
//
//	 0       4       8              16             24             32
//	+-------+-------+--------------+--------------+--------------+-----
//	| magic | flow  |    number    |  sent (ns)   | echoed (ns)  | fill
//	+-------+-------+--------------+--------------+--------------+-----
//
// Times are Unix nanoseconds of the machine's clock; echoed is zero until the world has turned the datagram round.
type payload []byte

const (
	magic       = 0x6d70736b
	payloadSize = 32 // the smallest one
)

func (p payload) valid() bool       { return len(p) >= payloadSize && binary.BigEndian.Uint32(p) == magic }
func (p payload) flow() uint32      { return binary.BigEndian.Uint32(p[4:]) }
func (p payload) number() uint64    { return binary.BigEndian.Uint64(p[8:]) }
func (p payload) sent() int64       { return int64(binary.BigEndian.Uint64(p[16:])) }
func (p payload) echoed() int64     { return int64(binary.BigEndian.Uint64(p[24:])) }
func (p payload) setEchoed(t int64) { binary.BigEndian.PutUint64(p[24:], uint64(t)) }

func (p payload) fill(flow uint32, number uint64, now int64) {
	binary.BigEndian.PutUint32(p, magic)
	binary.BigEndian.PutUint32(p[4:], flow)
	binary.BigEndian.PutUint64(p[8:], number)
	binary.BigEndian.PutUint64(p[16:], uint64(now))
	binary.BigEndian.PutUint64(p[24:], 0)
}
