package confine

import (
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// ReceiveConn takes one message of up to size bytes, with up to most files, from
// a Unix socket that keeps messages apart.
func ReceiveConn(conn *net.UnixConn, size, most int) (text []byte, files []*os.File, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, nil, err
	}
	if e := raw.Read(func(fd uintptr) bool {
		text, files, err = receive(int(fd), size, most)
		return err != unix.EAGAIN
	}); e != nil {
		return nil, nil, e
	}
	return text, files, err
}

// SendConn sends one message with files.
func SendConn(conn *net.UnixConn, text []byte, files ...*os.File) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	if e := raw.Write(func(fd uintptr) bool {
		err = send(int(fd), text, files...)
		return err != unix.EAGAIN
	}); e != nil {
		return e
	}
	return err
}

// receive takes one message. More files than wanted are closed by the kernel.
func receive(fd, size, most int) (text []byte, files []*os.File, err error) {
	b, oob := make([]byte, size), make([]byte, unix.CmsgSpace(4*most))
	var n, m int
	for {
		n, m, _, _, err = unix.Recvmsg(fd, b, oob, unix.MSG_CMSG_CLOEXEC)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		return nil, nil, err
	}
	if n <= 0 {
		return nil, nil, io.ErrUnexpectedEOF
	}
	parts, err := unix.ParseSocketControlMessage(oob[:m])
	if err != nil {
		return nil, nil, err
	}
	for i := range parts {
		fds, err := unix.ParseUnixRights(&parts[i])
		if err != nil {
			continue
		}
		for _, fd := range fds {
			unix.SetNonblock(fd, true)
			files = append(files, os.NewFile(uintptr(fd), "received"))
		}
	}
	return b[:n], files, nil
}

// send sends one message. A file's descriptor is used as it is: File.Fd would
// make it block, for the receiver too.
func send(fd int, text []byte, files ...*os.File) error {
	var fds []int
	var hold []func()
	defer func() {
		for _, f := range hold {
			f()
		}
	}()
	for _, f := range files {
		raw, err := f.SyscallConn()
		if err != nil {
			return err
		}
		n := -1
		if err := raw.Control(func(fd uintptr) { n, err = unix.Dup(int(fd)) }); err != nil {
			return err
		}
		if n < 0 {
			return err
		}
		fds = append(fds, n)
		hold = append(hold, func() { unix.Close(n) })
	}
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	return unix.Sendmsg(fd, text, oob, nil, 0)
}
