package routing

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mpsocks/mpsocks/conf"
)

// tellMark has the test's own program, in a group, say the mark of a socket that it opens.
const tellMark = "MPSOCKS_TEST_TELL_MARK"

func TestMain(m *testing.M) {
	if os.Getenv(tellMark) == "" {
		os.Exit(m.Run())
	}
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM, 0)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	mark, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK)
	fmt.Println(mark, err)
}

// markIn is what a program in a group finds.
func markIn(t *testing.T, dir string) string {
	t.Helper()
	group, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer group.Close()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), tellMark+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(group.Fd())}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// The sockets of a group and of those below it have the mark, as long as it is excluded.
func TestCgroups(t *testing.T) {
	root, err := cgroupRoot()
	if err != nil {
		t.Skip(err)
	}
	name := fmt.Sprintf("mpsocks-test-%d", os.Getpid())
	dir := filepath.Join(root, name)
	below, beside := filepath.Join(dir, "below"), filepath.Join(root, name+"-beside")
	for _, d := range []string{dir, below, beside} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Skip("control groups take root: ", err)
		}
		defer os.Remove(d)
	}
	var c cgroups
	excluded := []conf.Exclusion{{Cgroup: name}, {User: "nobody"}}
	if err := c.set(excluded, mark); err != nil {
		if strings.Contains(err.Error(), "not permitted") {
			t.Skip(err)
		}
		t.Fatal(err)
	}
	for d, want := range map[string]string{dir: "77 <nil>", below: "77 <nil>", beside: "0 <nil>"} {
		if got := markIn(t, d); got != want {
			t.Errorf("in %s the mark is %s, want %s", d, got, want)
		}
	}
	if err := c.set(nil, mark); err != nil {
		t.Fatal(err)
	}
	if got := markIn(t, dir); got != "0 <nil>" {
		t.Errorf("afterwards the mark is %s", got)
	}
	if err := c.set([]conf.Exclusion{{Cgroup: name + "/nobody-has-this"}}, mark); err == nil || !strings.Contains(err.Error(), "there is no "+dir) {
		t.Errorf("a group that there is not: %v", err)
	}
}
