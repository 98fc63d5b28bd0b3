package admission

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"time"

	"github.com/mpsocks/mpsocks/client/sockdiag"
	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/gate"
	"github.com/mpsocks/mpsocks/mux/lull"
	"github.com/mpsocks/mpsocks/mux/tcpio"
)

// users checks names and passwords, RFC 1929. Names and passwords are compared
// as keyed digests of one length, and an unknown name is compared like a known
// one, so that neither the time nor the answer tells which of the two was wrong.
type users struct {
	salt      [32]byte
	passwords map[[32]byte][32]byte // digest of the name -> digest of the password
	dummy     [32]byte              // stands for the password of unknown names
}

func newUsers(list []conf.User) *users {
	u := &users{passwords: make(map[[32]byte][32]byte, len(list))}
	rand.Read(u.salt[:])
	rand.Read(u.dummy[:])
	for _, l := range list {
		u.passwords[u.digest([]byte(l.Name))] = u.digest([]byte(l.Password))
	}
	return u
}

// same says whether a user of that name has the same password in other.
func (u *users) same(name string, other []conf.User) bool {
	for _, o := range other {
		if o.Name == name {
			return u.check([]byte(name), []byte(o.Password))
		}
	}
	return false
}

// required says whether applications must log in.
func (u *users) required() bool { return len(u.passwords) > 0 }

// check says whether name and password belong together.
func (u *users) check(name, password []byte) bool {
	want, known := u.passwords[u.digest(name)]
	if !known {
		want = u.dummy
	}
	got := u.digest(password)
	return subtle.ConstantTimeCompare(got[:], want[:]) == 1
}

func (u *users) digest(b []byte) [32]byte {
	// 255 bytes at most, RFC 1929, Section 2.
	msg := make([]byte, 0, sha256.Size+255)
	return sha256.Sum256(append(append(msg, u.salt[:]...), b...))
}

// maxName is how long a name may be, in bytes (RFC 1929, Section 2): HTTP lets people send
// longer ones, which are nobody's.
const maxName = 255

// Login says whether an application may be a user, whatever protocol it logs in with, and notes
// that its connection, which has entered, is that user's. It takes its time over it where
// passwords have been guessed, guessWait at most, and says no when the client ends.
func (c *Crowd) Login(conn tcpio.Socket, name, password []byte) bool {
	from, user := lineOf(conn), string(name[:min(len(name), maxName)])
	wait, ok := c.guesses.turn(from, user, time.Now())
	if !ok {
		if c.guesses.unread.Add(1) <= maxUnread {
			lull.Pause(c.life, guessMost)
		}
		c.guesses.unread.Add(-1)
		return false
	}
	if wait > 0 && !lull.Pause(c.life, wait) {
		return false
	}
	right := c.check(conn, name, password)
	if n, say := c.guesses.result(from, user, right, time.Now()); say {
		c.log.Warn().Stringer("app", conn.RemoteAddr()).Str("user", user).Int("wrong", n).
			Msg("wrong user name or password; further attempts from there and for that user are slowed down")
	}
	return right
}

// check looks at a name and a password, and notes whose the connection is if they are right: in
// one, so that ReplaceUsers finds everybody who came in by the list before.
func (c *Crowd) check(conn tcpio.Socket, name, password []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	right := c.users.Load().check(name, password)
	if _, there := c.conns[conn]; there && right {
		c.conns[conn] = string(name)
	}
	return right
}

// lineOf is the line in which whoever is at the far end of a connection waits: that of the
// user whose program it is where the system tells, whichever of the machine's addresses the
// program has taken, and else that of its address.
func lineOf(conn net.Conn) guessLine {
	local, remote := conn.LocalAddr().(*net.TCPAddr).AddrPort(), conn.RemoteAddr().(*net.TCPAddr).AddrPort()
	if uid, ok := sockdiag.TCPOwner(remote, local); ok {
		return guessLine{uid: uid + 1}
	}
	return guessLine{home: gate.Home(remote.Addr())}
}
