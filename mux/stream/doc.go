// Package stream is TCP inside the tunnel: what a CONNECT travels in. It knows no
// engine and no session. Who runs it brings the peer's packets (Inbox), pulls
// segments from the streams that wake names (Stream.Next), and calls Table.Tick now
// and then; the tunnel below delivers each packet once, in any order.
//
// stream.go tells how a byte walks through.
package stream
