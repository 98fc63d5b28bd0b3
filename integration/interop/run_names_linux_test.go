package interop

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// roams: another network's name servers come to the host while a program runs, as network
// managers bring them, by a new resolv.conf in the place of the old. That takes away what was
// put over it, and names are resolved at the server all the same.
func (l *land) roams(t *testing.T, flags []string) {
	const setUp = `set -e
mkdir $DIR/etc $DIR/work
mount -t overlay overlay -o lowerdir=/etc,upperdir=$DIR/etc,workdir=$DIR/work /etc
rm -f /etc/resolv.conf
echo 'nameserver 192.168.1.1' > /etc/resolv.conf
mount -t tmpfs none /dev/net
mknod /dev/net/tun c 10 200
chmod 666 /dev/net/tun
mkdir -m 777 $DIR/said
setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all --bounding-set=-all "$@" > $DIR/said/out 2>&1 &
for i in $(seq 200); do [ -e $DIR/said/begun ] && break; sleep .1; done
printf 'search home.arpa\nnameserver 127.0.0.53\nnameserver 192.168.77.1\nnameserver fd00::77\n' > /etc/resolv.conf.new
mv /etc/resolv.conf.new /etc/resolv.conf
touch $DIR/said/now
wait $! || echo failed $?
cat $DIR/said/out
`
	dir := filepath.Join(l.dir, "roams")
	l.sh("mkdir -p %[1]s && mount -t tmpfs none %[1]s && chmod 755 %[1]s", dir)
	defer l.sh("umount %s", dir)
	// Its own client has to see the host's file, as any client does.
	line := append(append([]string{mpsocks, "run"}, flags...), "--", "sh", "-c",
		`cat /etc/resolv.conf; getent hosts web.test; touch $DIR/said/begun; while ! [ -e $DIR/said/now ]; do sleep .1; done
cat /etc/resolv.conf; getent ahostsv4 web.test; dig +tcp +short +time=3 +tries=2 web.test @192.168.77.1; dig +tcp +short +time=3 +tries=2 web.test @127.0.0.53; dig +short +time=3 +tries=2 six.test aaaa @fd00::77`)
	args := append([]string{"netns", "exec", l.near, "unshare", "-m", "env", "DIR=" + dir, "bash", "-c", setUp, "sh"}, line...)
	cmd := exec.Command("ip", args...)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if strings.Contains(string(out), "overlay") && strings.Contains(string(out), "mount") {
		t.Skipf("no overlay can be mounted here: %s", out)
	}
	before, after, ok := strings.Cut(string(out), "search home.arpa")
	if !strings.Contains(before, "nameserver 198.18.0.1\n") || !strings.Contains(before, farAddress+" ") {
		t.Errorf("before: %v %s", err, out)
	}
	if !ok || !strings.Contains(after, "nameserver 192.168.77.1\n") {
		t.Skipf("this kernel leaves in place what was put over the file: %s", out)
	}
	_, after, _ = strings.Cut(after, "nameserver fd00::77\n")
	if !strings.HasPrefix(after, farAddress+" ") || !strings.Contains(after, "\n"+farAddress+"\n"+farAddress+"\n") || !strings.HasSuffix(after, farAddress6+"\n") {
		t.Errorf("after: %v %s", err, out)
	}
}
