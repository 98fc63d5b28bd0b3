package netlab

// request is what the lab asks its forwarder, one JSON object per message of a SOCK_SEQPACKET pair; each is
// answered by one reply.
type request struct {
	// Set replaces the link of pipe Pipe (2·path for up, 2·path+1 for down); otherwise the statistics are wanted.
	Set  bool `json:"set,omitempty"`
	Pipe int  `json:"pipe,omitempty"`
	Link Link `json:"link,omitzero"`
}

type reply struct {
	Error string      `json:"error,omitempty"`
	Stats []LinkStats `json:"stats,omitempty"` // by pipe
}

// setup is the first message, before any request: the links as they begin.
type setup struct {
	Links []Link `json:"links"` // by pipe
	Seed  uint64 `json:"seed"`
}

// childVariable tells a re-executed binary that it is the forwarder.
const childVariable = "MPSOCKS_NETLAB_FORWARDER"
