package client

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"time"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/gate"
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

// has says whether there is a user of that name.
func (u *users) has(name string) bool {
	_, known := u.passwords[u.digest([]byte(name))]
	return known
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

// login says whether an application may be a user, whatever protocol it logs in
// with. It takes its time over it where passwords have been guessed.
func (c *crowd) login(conn net.Conn, name, password []byte) bool {
	from := guessLine{home: gate.Home(remoteAddr(conn))}
	local, remote := conn.LocalAddr().(*net.TCPAddr).AddrPort(), conn.RemoteAddr().(*net.TCPAddr).AddrPort()
	if uid, ok := tcpOwner(remote, local); ok {
		from.uid = uid + 1
	}
	wait, ok := c.guesses.turn(from, string(name), time.Now())
	if !ok {
		if c.guesses.unread.Add(1) <= maxUnread {
			c.pause(guessMost)
		}
		c.guesses.unread.Add(-1)
		return false
	}
	if wait > 0 && !c.pause(wait) {
		return false
	}
	right := c.users.Load().check(name, password)
	if n, say := c.guesses.result(from, string(name), right, time.Now()); say {
		c.log.Warn().Stringer("app", remote).Bytes("user", name).Int("wrong", n).
			Msg("wrong user name or password; further attempts from there and for that user are slowed down")
	}
	return right
}

// pause waits, and says whether the client goes on.
func (c *crowd) pause(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-c.life.Done():
		return false
	}
}
