package conf

// Memory is how many bytes may be held: 0 is auto, a share of the machine's.
type Memory Size

// leastMemory is what a server can do something with.
const leastMemory = 32 << 20

// UnmarshalText reads "auto" or a size.
func (m *Memory) UnmarshalText(text []byte) error {
	if string(text) == "auto" {
		*m = 0
		return nil
	}
	return (*Size)(m).UnmarshalText(text)
}

// String is what UnmarshalText reads.
func (m Memory) String() string {
	if m == 0 {
		return "auto"
	}
	return Size(m).String()
}
