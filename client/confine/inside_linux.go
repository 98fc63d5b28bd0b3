package confine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/mpsocks/mpsocks/client/tun"
)

// Inside sets up the namespaces in which it was started, hands the device over
// and becomes the program: args are the number of Start's socket and the program's
// arguments. It returns only when that fails; the other process has then been told.
func Inside(args []string) error {
	runtime.LockOSThread() // privileges belong to a thread
	b := make([]byte, maxMessage)
	n, socket := 0, -1
	err := errors.New("no socket")
	if len(args) > 1 {
		socket, err = strconv.Atoi(args[0])
	}
	if err == nil {
		unix.CloseOnExec(socket)
		n, err = unix.Read(socket, b)
	}
	if err != nil || n == 0 {
		return errors.New("this command is started by mpsocks run")
	}
	var o order
	if err := json.Unmarshal(b[:n], &o); err != nil {
		return err
	}
	if err := prepare(&o, socket); err != nil {
		return send(socket, []byte(err.Error())) // the other process says it
	}
	if n, err := unix.Read(socket, b); err != nil || n == 0 {
		return errors.New("mpsocks run has gone")
	}
	if o.Drop {
		if err := drop(); err != nil {
			return fmt.Errorf("give up privileges: %w", err)
		}
	}
	err = syscall.Exec(o.Path, args[1:], os.Environ())
	if err == syscall.ENOEXEC { // a script that does not say whose it is: execvp(3)
		err = syscall.Exec(shell, append([]string{shell, o.Path}, args[2:]...), os.Environ())
	}
	return fmt.Errorf("%s: %w", o.Path, err)
}

const shell = "/bin/sh"

// prepare makes everything that the program finds.
func prepare(o *order, socket int) error {
	device, name, err := tun.Create("mpsocks%d")
	if err != nil {
		return explainDevice(err)
	}
	defer device.Close()
	if err := bringUp(name, o); err != nil {
		return err
	}
	if err := putFiles(o.Resolvers); err != nil {
		return err
	}
	files := []*os.File{device}
	for _, port := range o.Loopback {
		f, err := listenLocal(port)
		if err != nil {
			return err
		}
		defer f.Close()
		files = append(files, f)
	}
	return send(socket, []byte(ready), files...)
}

func listenLocal(port uint16) (*os.File, error) {
	l, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))))
	if err != nil {
		return nil, err
	}
	defer l.Close()
	return l.(*net.TCPListener).File()
}

// explainDevice says what to do where a TUN device cannot be made.
func explainDevice(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: as root, modprobe tun (in a container, give it /dev/net/tun)", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: as root, chmod 0666 /dev/net/tun, as most distributions have it", err)
	}
	return err
}

// drop gives up what the user namespace gave. A program that is set-uid gains
// nothing there either: it has one user only.
func drop() error {
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return err
	}
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	return unix.Capset(&head, &none[0])
}
