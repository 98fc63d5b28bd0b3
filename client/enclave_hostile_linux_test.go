package client

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/mpsocks/mpsocks/client/confine"
)

// granting has a client serve the socket of mpsocks run; end ends it, and the client.
func granting(t *testing.T, c *Client) (path string, end func()) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "mpsocks", "run.sock")
	l, err := listenGrants(path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- serveGrants(c.life, c, l) }()
	return path, func() { l.Close(); c.stop(); <-done }
}

// TestGrantsLeaveFilesAlone: where the socket shall be and a file is, the file stays; a socket
// that a client has left there goes.
func TestGrantsLeaveFilesAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run.sock")
	if err := os.WriteFile(path, []byte("somebody's"), 0o600); err != nil {
		t.Fatal(err)
	}
	if l, err := listenGrants(path); err == nil {
		l.Close()
		t.Error("it listens there")
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "somebody's" {
		t.Errorf("the file: %q, %v", b, err)
	}
	os.Remove(path)
	for range 2 {
		l, err := listenGrants(path)
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		l.Close()
	}
}

// TestGrantsEndWithTheClient: a client that ends waits for nobody at the socket of mpsocks run,
// and leaves nobody there.
func TestGrantsEndWithTheClient(t *testing.T) {
	c := lonely(t)
	path, end := granting(t, c)
	dial := func() *net.UnixConn {
		conn, err := net.Dial("unixpacket", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn.(*net.UnixConn)
	}
	conn, next := dial(), dial()
	if err := confine.SendConn(next, []byte("nonsense")); err != nil {
		t.Fatal(err)
	}
	if _, err := next.Read(make([]byte, 1)); err != nil { // so that both have been accepted
		t.Fatal(err)
	}
	begun := time.Now()
	end()
	if took := time.Since(begun); took > grantTime/2 {
		t.Errorf("it took %v", took)
	}
	conn.SetReadDeadline(time.Now().Add(time.Millisecond))
	if _, err := conn.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		t.Errorf("its connection is open: %v", err)
	}
}

// as has something done by a thread of another user's.
func as(t *testing.T, uid int, do func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	done := make(chan syscall.Errno)
	go func() {
		runtime.LockOSThread() // and the thread ends with the goroutine
		_, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid))
		if errno == 0 {
			do()
		}
		done <- errno
	}()
	if errno := <-done; errno != 0 {
		t.Fatal(errno)
	}
}

// TestDevicesAreLentToNobodyElse: what listens where the user's client is said to be and is
// another user's gets no device.
func TestDevicesAreLentToNobodyElse(t *testing.T) {
	const user, mallory = 54320, 54321
	path := "@" + t.Name()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for _, who := range []int{mallory, user, 0} {
		var l *net.UnixListener
		as(t, who, func() { l, err = net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"}) })
		if err != nil {
			t.Fatal(err)
		}
		got := make(chan int, 1)
		go func() {
			n := -1
			if conn, err := l.AcceptUnix(); err == nil {
				text, files, _ := confine.ReceiveConn(conn, maxGrant, 1)
				for _, f := range files {
					f.Close()
				}
				n = len(text)
				conn.Close()
			}
			got <- n
		}()
		var lent error
		as(t, user, func() { lent = Borrow(t.Context(), path, Program{Name: "curl"}, null, func(*net.UnixConn) {}) })
		_, refused := errors.AsType[*Refusal](lent)
		if n := <-got; refused != (who == mallory) || (n > 0) == refused {
			t.Errorf("a client of user %d got %d bytes, and the program of %d was told %v", who, n, user, lent)
		}
		l.Close()
	}
}

// TestGrantsRefuse has programs of this user say nonsense at the socket of mpsocks run: each
// is told why or cut, no file of theirs stays open here, and the socket serves the next.
func TestGrantsRefuse(t *testing.T) {
	c := lonely(t)
	path, end := granting(t, c)
	defer end()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if dir, err := os.Stat(filepath.Dir(path)); err != nil || dir.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", dir.Mode(), err)
	}
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	good, _ := json.Marshal(Program{Name: "curl"})
	nameless, _ := json.Marshal(Program{})
	long, _ := json.Marshal(Program{Name: strings.Repeat("n", 256)})
	unknown, _ := json.Marshal(Program{Name: "curl", Paths: []string{"nowhere"}})
	for name, tt := range map[string]struct {
		text  string
		files []*os.File
	}{
		"no JSON":            {"curl", []*os.File{write}},
		"half of it":         {string(good[:len(good)-3]), []*os.File{write}},
		"other kinds":        {`{"Name": [1, 2], "Paths": {}}`, []*os.File{write}},
		"deep":               {strings.Repeat("[", maxGrant-1), []*os.File{write}},
		"longer than it may": {string(good[:len(good)-1]) + strings.Repeat(" ", maxGrant) + "}", []*os.File{write}},
		"no device":          {string(good), nil},
		"two":                {string(good), []*os.File{write, write}},
		"many":               {string(good), []*os.File{write, write, write, write, write, write, write, write}},
		"a pipe":             {string(good), []*os.File{write}},
		"/dev/null":          {string(good), []*os.File{null}},
		"no name":            {string(nameless), []*os.File{write}},
		"a long name":        {string(long), []*os.File{write}},
		"no such path":       {string(unknown), []*os.File{write}},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("unixpacket", path)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := confine.SendConn(conn.(*net.UnixConn), []byte(tt.text), tt.files...); err != nil {
				t.Fatal(err)
			}
			conn.SetReadDeadline(time.Now().Add(20 * time.Second))
			b := make([]byte, 4096)
			n, err := conn.Read(b)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal("it is neither told nor cut")
			}
			var reply grantReply
			if err := json.Unmarshal(b[:n], &reply); n > 0 && (err != nil || reply.Error == "") {
				t.Errorf("served: %s, %v", b[:n], err)
			}
		})
	}
	// Those who say nothing are cut, and their number is bounded.
	for range 2 * maxGrantConns {
		conn, err := net.Dial("unixpacket", path)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	eventually(t, "the silent ones are gone", func() bool {
		conn, err := net.Dial("unixpacket", path)
		if err != nil {
			return false
		}
		defer conn.Close()
		if confine.SendConn(conn.(*net.UnixConn), nameless, write) != nil {
			return false
		}
		conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		n, _ := conn.Read(make([]byte, 4096))
		return n > 0
	})
	// The reader sees the end only when no copy of the other end is open any more.
	write.Close()
	read.SetReadDeadline(time.Now().Add(20 * time.Second))
	if n, err := read.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a file that was sent is still open: %v", err)
	}
}

// A program that is refused without end does not fill the log.
func TestLinesOfRefusedGrants(t *testing.T) {
	c := lonely(t)
	var lines atomic.Int64
	c.log = zerolog.Nop().Level(zerolog.InfoLevel).Hook(zerolog.HookFunc(func(_ *zerolog.Event, level zerolog.Level, text string) {
		if level >= zerolog.InfoLevel && strings.Contains(text, "refused") {
			lines.Add(1)
		}
	}))
	path, end := granting(t, c)
	for range 3 * mostLines {
		conn, err := net.Dial("unixpacket", path)
		if err != nil {
			t.Fatal(err)
		}
		if err := confine.SendConn(conn.(*net.UnixConn), []byte("nonsense")); err != nil {
			t.Fatal(err)
		}
		conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		conn.Read(make([]byte, 4096))
		conn.Read(make([]byte, 1)) // its end comes after the line
		conn.Close()
	}
	end()
	if n := lines.Load(); n == 0 || n > mostLines {
		t.Errorf("%d lines", n)
	}
}
