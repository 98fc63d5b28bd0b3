//go:build !unix

package gate

import "net"

// Unread says whether a connection has brought bytes that nobody has read yet, without
// reading them; false where the system does not say it.
func Unread(net.Conn) bool { return false }

// AwaitUnread does not wait here: reading does.
func AwaitUnread(net.Conn) error { return nil }
