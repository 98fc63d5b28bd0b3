package server

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/mpsocks/mpsocks/conf"
)

// limits.memory: auto goes by the least limit of all control groups that this process is
// in, of either version, whatever part of the tree a container sees.
func TestLeastLimitOfControlGroups(t *testing.T) {
	const (
		two  = "41 31 0:38 / /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw\n"
		one  = "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
		both = "34 31 0:31 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n" + one +
			"41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
		max1 = "9223372036854771712" // version 1 says so where there is none
	)
	for name, c := range map[string]struct {
		mounts, groups string
		files          map[string]string // below /sys/fs/cgroup
		want           int64
		by             string
	}{
		"version 2, its own": {two, "0::/a/b\n", map[string]string{"a/b/memory.max": "100", "a/memory.max": "max"}, 100, "a/b/memory.max"},
		"version 2, above it": {
			two, "0::/a/b\n",
			map[string]string{"a/b/memory.max": "300", "a/memory.max": "200", "memory.max": "900"},
			200, "a/memory.max",
		},
		"version 2, throttled": {two, "0::/a\n", map[string]string{"a/memory.max": "300", "a/memory.high": "150"}, 150, "a/memory.high"},
		"version 2, none":      {two, "0::/a\n", map[string]string{"a/memory.max": "max", "a/memory.high": "max"}, 0, ""},
		"version 1, its own": {
			both, "4:memory:/a/b\n1:cpu:/c\n0::/\n",
			map[string]string{"memory/a/b/memory.limit_in_bytes": "100", "memory/a/memory.limit_in_bytes": max1},
			100, "memory/a/b/memory.limit_in_bytes",
		},
		"version 1, above it": {
			both, "4:cpu,memory:/a/b\n0::/\n",
			map[string]string{"memory/a/b/memory.limit_in_bytes": max1, "memory/a/memory.limit_in_bytes": "70"},
			70, "memory/a/memory.limit_in_bytes",
		},
		"version 1, of another group": {
			both, "4:memory:/a\n1:cpu:/b\n0::/\n",
			map[string]string{"memory/a/memory.limit_in_bytes": "500", "memory/b/memory.limit_in_bytes": "70"},
			500, "memory/a/memory.limit_in_bytes",
		},
		"both": {
			both, "4:memory:/a\n0::/c\n",
			map[string]string{"memory/a/memory.limit_in_bytes": "500", "unified/c/memory.max": "400"},
			400, "unified/c/memory.max",
		},
		"a container that sees its own group as the root": {
			"35 31 0:32 /docker/x /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n", "4:memory:/docker/x\n",
			map[string]string{"memory/memory.limit_in_bytes": "64"},
			64, "memory/memory.limit_in_bytes",
		},
		"a container with groups below": {
			"35 31 0:32 /docker/x /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n", "4:memory:/docker/x/y\n",
			map[string]string{"memory/memory.limit_in_bytes": "64", "memory/y/memory.limit_in_bytes": "32"},
			32, "memory/y/memory.limit_in_bytes",
		},
		"a namespace that says less than the mount": {
			"35 31 0:32 /../.. /sys/fs/cgroup ro - cgroup2 cgroup rw\n", "0::/\n",
			map[string]string{"memory.max": "64"},
			64, "memory.max",
		},
		"a name with a space": {
			"35 31 0:32 / /sys/fs/cgroup/my\\040groups rw - cgroup2 cgroup rw\n", "0::/a b\n",
			map[string]string{"my groups/a b/memory.max": "64"},
			64, "my groups/a b/memory.max",
		},
		"nonsense": {"x\n - cgroup2\n1 2 3 4 5 -\n - - -\n", ":\n0::\n::::\n", nil, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			root := fstest.MapFS{
				"proc/self/mountinfo": {Data: []byte("31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n" + c.mounts)},
				"proc/self/cgroup":    {Data: []byte(c.groups)},
			}
			for at, what := range c.files {
				root["sys/fs/cgroup/"+at] = &fstest.MapFile{Data: []byte(what + "\n")}
			}
			want := c.by
			if want != "" {
				want = "sys/fs/cgroup/" + want
			}
			if got, by := cgroupMemory(root); got != c.want || by != want {
				t.Errorf("%d by %q, not %d by %q", got, by, c.want, want)
			}
		})
	}
}

// What the kernel of this machine has is what is read: a group of 64 MiB around one that
// says nothing.
func TestLimitOfARealControlGroup(t *testing.T) {
	for root, file := range map[string]string{"/sys/fs/cgroup/memory": "memory.limit_in_bytes", "/sys/fs/cgroup": "memory.max"} {
		outer := filepath.Join(root, fmt.Sprintf("mpsocks-limit-%d", os.Getpid()))
		inner := filepath.Join(outer, "inner")
		if _, err := os.Stat(filepath.Join(root, "cgroup.procs")); err != nil || os.Mkdir(outer, 0o755) != nil {
			continue
		}
		defer os.Remove(outer)
		if os.WriteFile(filepath.Join(outer, file), []byte(strconv.Itoa(64<<20)), 0o600) != nil || os.Mkdir(inner, 0o755) != nil {
			continue
		}
		defer os.Remove(inner)
		groups, err := os.ReadFile("/proc/self/cgroup")
		if err != nil {
			t.Fatal(err)
		}
		// The process stays where it is: another thread of the tests would go with it.
		var lines []string
		for line := range strings.Lines(string(groups)) {
			f := strings.SplitN(line, ":", 3)
			if f[1] == "memory" || f[0] == "0" && root == "/sys/fs/cgroup" {
				f[2] = strings.TrimPrefix(inner, root) + "\n"
			}
			lines = append(lines, strings.Join(f, ":"))
		}
		n, by := cgroupMemory(elsewhere{os.DirFS("/").(readFS), strings.Join(lines, "")})
		if n != 64<<20 || by != filepath.Join(outer, file)[1:] {
			t.Errorf("%d by %s", n, by)
		}
		return
	}
	t.Skip("no control group for memory can be made")
}

func TestMemorySaysWhoseLimitItIs(t *testing.T) {
	n, whose := machineMemory()
	if n < 16<<20 || whose == "" {
		t.Errorf("%d bytes, %q", n, whose)
	}
	if got := Memory(conf.DefaultServer()); !strings.Contains(got, fmt.Sprintf("%d MiB", n/memoryShare>>20)) || !strings.Contains(got, "a quarter of "+whose) {
		t.Error(got)
	}
}

type readFS interface {
	fs.FS
	fs.ReadFileFS
}

// elsewhere is the machine, with this process in other groups.
type elsewhere struct {
	readFS
	groups string
}

func (e elsewhere) ReadFile(name string) ([]byte, error) {
	if name == "proc/self/cgroup" {
		return []byte(e.groups), nil
	}
	return e.readFS.ReadFile(name)
}
