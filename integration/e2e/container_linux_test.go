package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/integration/bench/halves"
)

// An image is what packaging/Containerfile makes, as far as a test can have it without a
// registry and a daemon: a root file system of the files that it copies, entered by chroot
// as its user.
type image struct {
	t               *testing.T
	root            string
	uid, gid        uint32
	entry, cmd, ill []string // ill: the health check
}

// makeImage reads the Containerfile and assembles the root file system.
func makeImage(t *testing.T) *image {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("chroot takes root")
	}
	im := &image{t: t, root: t.TempDir()}
	if err := os.Chmod(im.root, 0o755); err != nil {
		t.Fatal(err)
	}
	static := filepath.Join(t.TempDir(), "mpsocks")
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", static, "github.com/mpsocks/mpsocks")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	built := map[string]string{"mpsocks": static}
	list := func(text string) (words []string) {
		if err := json.Unmarshal([]byte(text), &words); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		return words
	}
	for line := range strings.Lines(read(t, "../../packaging/Containerfile")) {
		what, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch what {
		case "COPY":
			from, to, _ := strings.Cut(rest, " ")
			copyFile(t, built[from], filepath.Join(im.root, to))
		case "USER":
			uid, gid, _ := strings.Cut(rest, ":")
			for _, id := range []struct {
				text string
				into *uint32
			}{{uid, &im.uid}, {gid, &im.gid}} {
				n, err := strconv.ParseUint(id.text, 10, 32)
				if err != nil {
					t.Fatal(err)
				}
				*id.into = uint32(n)
			}
		case "HEALTHCHECK":
			_, cmd, _ := strings.Cut(rest, "CMD ")
			im.ill = list(cmd)
		case "ENTRYPOINT":
			im.entry = list(rest)
		case "CMD":
			im.cmd = list(rest)
		case "FROM":
			if rest != "scratch" {
				t.Fatalf("the image begins with %s", rest)
			}
		}
	}
	if im.uid == 0 || im.gid == 0 || len(im.entry) == 0 || len(im.cmd) == 0 || len(im.ill) == 0 {
		t.Fatalf("%+v", im)
	}
	return im
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	body, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, body, 0o755); err != nil {
		t.Fatal(err)
	}
}

// mount is -v: a file or folder of the user's.
func (im *image) mount(path, text string) {
	im.t.Helper()
	at := filepath.Join(im.root, path)
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		im.t.Fatal(err)
	}
	if err := os.WriteFile(at, []byte(text), 0o600); err != nil {
		im.t.Fatal(err)
	}
	if err := os.Chown(at, int(im.uid), int(im.gid)); err != nil {
		im.t.Fatal(err)
	}
}

// command is what the image runs.
func (im *image) command(args []string, env ...string) *exec.Cmd {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir, cmd.Env = "/", append(env, "PATH=/")
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: im.root, Credential: &syscall.Credential{Uid: im.uid, Gid: im.gid}}
	return cmd
}

// TestContainer runs both halves as the container image does: nothing but the binary, its
// user, its command and its health check.
func TestContainer(t *testing.T) {
	t.Parallel()
	c := halves.Config{Dir: t.TempDir(), Tunnel: ports(t, 1)[0], Socks: ports(t, 1), Paths: halves.TwoPaths(), Allow: []string{"127.0.0.0/8"}, Admin: true}
	if err := c.Write(mpsocks); err != nil {
		t.Fatal(err)
	}
	type half struct {
		im   *image
		args []string
		env  []string
	}
	begin := func(file, path, admin string, args ...string) half {
		im := makeImage(t)
		im.mount(path, replaceLine(replaceLine(read(t, file), "state_dir:", ""), "admin:", ""))
		im.mount("/state/.keep", "")
		if err := os.Chown(filepath.Join(im.root, "state"), int(im.uid), int(im.gid)); err != nil {
			t.Fatal(err)
		}
		if len(args) == 0 {
			args = im.cmd
		}
		h := half{im, append(im.entry, args...), []string{"MPSOCKS_STATE_DIR=/state", "MPSOCKS_ADMIN=" + admin}}
		var said strings.Builder
		cmd := im.command(h.args, h.env...)
		cmd.Stdout, cmd.Stderr = &said, &said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Signal(syscall.SIGTERM)
			if err := cmd.Wait(); err != nil {
				t.Errorf("%v ends with %v", h.args, err)
			}
			if t.Failed() {
				t.Logf("%v said\n%s", h.args, said.String())
			}
		})
		return h
	}
	server := begin(c.ServerFile, "/etc/mpsocks/server.yaml", c.ServerAdmin, "server", "-c", "/etc/mpsocks/server.yaml")
	client := begin(c.ClientFile, "/etc/mpsocks/client.yaml", c.ClientAdmin)
	echo := tcpServer(t, "127.0.0.1:0", func(c *net.TCPConn) { _, _ = c.Write([]byte("still there?")) })
	eventually(t, 15*time.Second, "a connection goes through", func() bool {
		conn, err := try(c.Socks[0], echo.String())
		if err != nil {
			return false
		}
		defer conn.Close()
		return echoes(conn)
	})
	for _, h := range []half{server, client} {
		if out, err := h.im.command(h.im.ill, h.env...).CombinedOutput(); err != nil {
			t.Errorf("the health check of %v: %v: %s", h.args, err, out)
		}
		if _, err := os.Stat(filepath.Join(h.im.root, "state", "admin.token")); err != nil {
			all, _ := filepath.Glob(filepath.Join(h.im.root, "state", "*"))
			t.Errorf("no token is kept: %v (%v)", err, all)
		}
	}
	nobody := fmt.Sprintf("MPSOCKS_ADMIN=%s", ports(t, 1)[0])
	if out, err := client.im.command(client.im.ill, nobody).CombinedOutput(); err == nil || !strings.Contains(string(out), "nothing answers") {
		t.Errorf("the health check where nothing runs: %v: %s", err, out)
	}
}
