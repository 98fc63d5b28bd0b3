package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/mpsocks/mpsocks/client/confine"
	"github.com/mpsocks/mpsocks/mux/tcpio"
)

const (
	// grantTime is how long a program has to say what it wants.
	grantTime = 2 * time.Second
	// maxGrant bounds what it says.
	maxGrant = 4096
	// maxGrantConns bounds the connections at the socket: those of devices, and
	// as many that are about to bring one.
	maxGrantConns = 2 * maxEnclaves
)

// grantReply answers a Program, which comes with a TUN device; the device is served as
// long as the connection is open. It says why not, or what is granted.
type grantReply struct {
	Error string   `json:"error,omitempty"`
	Paths []string `json:"paths,omitempty"`
}

// ownSocket is where `mpsocks run` of this user finds the user's client; "" if
// there is no directory that only the user can write to.
func ownSocket() string {
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return filepath.Join(dir, "mpsocks", "run.sock")
	}
	if os.Geteuid() == 0 {
		return "/run/mpsocks/run.sock"
	}
	if dir := "/run/user/" + strconv.Itoa(os.Geteuid()); isDir(dir) {
		return filepath.Join(dir, "mpsocks", "run.sock")
	}
	return ""
}

// RunSockets are where a client that serves this user may be found, the likeliest first:
// every client serves root, who has come from a user most often.
func RunSockets() (out []string) {
	if own := ownSocket(); own != "" {
		out = append(out, own)
	}
	if user := os.Getenv("SUDO_UID"); user != "" && os.Geteuid() == 0 {
		if _, err := strconv.ParseUint(user, 10, 32); err == nil {
			out = append(out, filepath.Join("/run/user", user, "mpsocks", "run.sock"))
		}
	}
	return out
}

func isDir(path string) bool {
	s, err := os.Stat(path)
	return err == nil && s.IsDir()
}

// listenGrants makes the socket, for its owner only. The socket that another client left
// behind is removed; where one answers, it is that one's. Somebody's file stays.
func listenGrants(path string) (*net.UnixListener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	if conn, err := net.Dial("unixpacket", path); err == nil {
		conn.Close()
		return nil, errors.New("another client of this user serves mpsocks run")
	}
	if info, err := os.Lstat(path); err == nil && info.Mode()&os.ModeSocket != 0 {
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		// A socket's file gets the mode that the socket has when it is bound. A mask
		// would be the whole process's, for all that is made meanwhile.
		return errors.Join(raw.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), 0o600) }), err)
	}}
	l, err := lc.Listen(context.Background(), "unixpacket", path)
	if err != nil {
		return nil, err
	}
	return l.(*net.UnixListener), nil
}

// serveGrants takes TUN devices from programs of the same user until ctx ends, and returns when
// nothing of theirs is served any more. Run starts it; each connection has a goroutine, which
// ends with it.
func serveGrants(ctx context.Context, c *Client, l *net.UnixListener) error {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	var serving sync.WaitGroup
	defer serving.Wait()
	places := make(chan struct{}, maxGrantConns)
	_ = tcpio.AcceptAll(ctx, l.AcceptUnix, func(conn *net.UnixConn) {
		select {
		case places <- struct{}{}:
		default:
			conn.Close()
			return
		}
		serving.Go(func() {
			defer func() { <-places }()
			defer conn.Close()
			stop := context.AfterFunc(ctx, func() { conn.Close() })
			defer stop()
			if err := grant(ctx, c, conn); err != nil && ctx.Err() == nil {
				b, _ := json.Marshal(grantReply{Error: err.Error()})
				conn.Write(b)
				c.programs.Line(&c.log, zerolog.InfoLevel).Err(err).Msg("mpsocks run was refused")
			}
		})
	}, deaf(c, l.Addr()))
	return nil
}

// grant serves the device that comes by one connection.
func grant(ctx context.Context, c *Client, conn *net.UnixConn) error {
	if err := sameUser(conn); err != nil {
		return err
	}
	conn.SetDeadline(time.Now().Add(grantTime))
	text, files, err := confine.ReceiveConn(conn, maxGrant, 1)
	for _, f := range files {
		defer f.Close()
	}
	if err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return nil // it only asked whether somebody is there
		}
		return err
	}
	var req Program
	if err := json.Unmarshal(text, &req); err != nil {
		return fmt.Errorf("request: %w", err)
	}
	if len(files) != 1 {
		return errors.New("a request without a device")
	}
	if req.Name == "" || len(req.Name) > 255 {
		return errors.New("the program's name has to have 1 to 255 bytes")
	}
	conn.SetDeadline(time.Time{})
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // ends with the connection, which grant closes
		defer cancel()
		conn.Read(make([]byte, 1))
	}()
	served := false
	err = c.ServeTUN(ctx, files[0], req, func() {
		served = true
		if granted, err := json.Marshal(grantReply{Paths: req.Paths}); err == nil {
			conn.Write(granted)
		}
		c.programs.Line(&c.log, zerolog.InfoLevel).Str("program", req.Name).Str("class", req.Class).Strs("paths", req.Paths).Msg("a program with a network of its own begins")
	})
	if !served {
		return err
	}
	c.programs.Line(&c.log, zerolog.InfoLevel).Str("program", req.Name).Err(err).Msg("a program with a network of its own ends")
	conn.Close()
	return nil
}

// isTUN says whether a file is an open TUN device, of whatever network namespace.
func isTUN(f *os.File) bool {
	raw, err := f.SyscallConn()
	if err != nil {
		return false
	}
	ifr, err := unix.NewIfreq("")
	if err != nil {
		return false
	}
	var got error
	err = raw.Control(func(fd uintptr) { got = unix.IoctlIfreq(int(fd), unix.TUNGETIFF, ifr) })
	return err == nil && got == nil && ifr.Uint16()&unix.IFF_TUN != 0
}

// sameUser holds that only the client's own user, and root, use its tunnel: the
// mode of the socket says so already where the system looks at it.
func sameUser(conn *net.UnixConn) error {
	uid, err := peerOf(conn)
	if err == nil && uid != 0 && uid != os.Geteuid() {
		err = fmt.Errorf("the client belongs to another user than %d", uid)
	}
	return err
}

// peerOf is the user at the other end: who connected or, of one that listens, who made the
// socket.
func peerOf(conn *net.UnixConn) (uid int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	if e := raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); e != nil {
		err = e
	}
	if err != nil {
		return 0, err
	}
	return int(cred.Uid), nil
}

// Borrow gives a device to the client behind a socket and returns when that has
// ended (nil or why) or ctx has. ready is called when the client has taken it, which it keeps
// as long as the connection is open. Whose client has the device sees all that the program
// sends: that is this user's or root's, but where root gives it.
func Borrow(ctx context.Context, path string, p Program, device *os.File, ready func(*net.UnixConn)) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unixpacket", path)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	switch uid, err := peerOf(conn.(*net.UnixConn)); {
	case err != nil:
		return err
	case uid != 0 && uid != os.Geteuid() && os.Geteuid() != 0:
		return &Refusal{fmt.Sprintf("the client at %s is user %d's, who would see all that the program sends", path, uid)}
	}
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if err := confine.SendConn(conn.(*net.UnixConn), b, device); err != nil {
		return err
	}
	answer := make([]byte, maxGrant)
	n, err := conn.Read(answer)
	if err != nil {
		return err
	}
	var reply grantReply
	if err := json.Unmarshal(answer[:n], &reply); err != nil {
		return err
	}
	if reply.Error != "" {
		return &Refusal{"the client refuses: " + reply.Error}
	}
	if !slices.Equal(reply.Paths, p.Paths) { // an earlier release, which would use all
		return &Refusal{"the client refuses: it knows nothing of paths of a program's own: it is of an earlier release"}
	}
	ready(conn.(*net.UnixConn))
	conn.Read(answer[:1])
	return ctx.Err()
}

// Refusal is why a client does not take a device, which will not change.
type Refusal struct{ why string }

func (r *Refusal) Error() string { return r.why }

// runSocketOf translates the setting.
func runSocketOf(setting string) string {
	switch setting {
	case "auto":
		return ownSocket()
	case "off":
		return ""
	}
	return setting
}

// runGrants serves `mpsocks run` until ctx ends. A client without the socket
// works all the same.
func runGrants(ctx context.Context, c *Client) error {
	l, err := listenGrants(c.runSocket)
	if err != nil {
		c.log.Debug().Err(err).Str("socket", c.runSocket).Msg("mpsocks run will not find this client")
		return nil
	}
	return serveGrants(ctx, c, l)
}
