package engine

import "github.com/mpsocks/mpsocks/mux/muxtest"

var testPacket = muxtest.Packet
