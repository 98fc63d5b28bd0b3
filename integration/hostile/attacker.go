package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"time"

	"github.com/mpsocks/mpsocks/conf"
)

// An attacker is a process of its own that does one attack: a client with a key of its
// own, what it can reach, and how it speaks to the server.
type attacker struct {
	at           string // the server's address
	cfg          *conf.Client
	theirs       *net.UDPConn     // an echo
	source, sink *net.TCPListener // what is said without end, and what nobody reads
}

// A result is what an attack got, and why a promise is broken, "" if none is.
type result struct{ Got, Broken string }

// single does one attack and prints its result.
func single(name string) error {
	p := &attacker{at: *at}
	var err error
	if p.cfg, err = conf.LoadClient(*file); err != nil {
		return err
	}
	if p.theirs, err = echo(); err != nil {
		return err
	}
	if p.source, p.sink, err = ends(); err != nil {
		return err
	}
	for _, a := range attacks {
		if a.name == name {
			var r result
			r.Got, r.Broken = a.run(p, time.Now().Add(*lasting))
			return json.NewEncoder(os.Stdout).Encode(r)
		}
	}
	return fmt.Errorf("there is no attack %q", name)
}

// An attacking is one under way.
type attacking struct {
	process
	out []byte // until done
}

// attack begins one at a server. Attackers are on machines of their own: here they get what
// processor time others leave, but for those that are to share it.
func (p *pair) attack(a *attack, at string, d time.Duration) (*attacking, error) {
	own, err := os.Executable()
	if err != nil {
		return nil, err
	}
	command := []string{own, "-attack", a.name, "-at", at, "-conf", p.theirs, "-for", d.String()}
	if !a.shares {
		command = append(leavings(), command...)
	}
	return begin(exec.Command(command[0], command[1:]...))
}

// leavings begins a command that gets the time that nobody else wants: one that is only nice has
// a processor for some milliseconds when it has it, whoever else wakes (sched(7), SCHED_IDLE).
func leavings() []string {
	for _, command := range [][]string{{"chrt", "--idle", "0"}, {"nice", "-n", "19"}} {
		if path, err := exec.LookPath(command[0]); err == nil {
			return append([]string{path}, command[1:]...)
		}
	}
	return nil
}

func begin(cmd *exec.Cmd) (*attacking, error) {
	a := &attacking{process: process{cmd: cmd, done: make(chan struct{})}}
	a.cmd.Stderr = os.Stderr
	out, err := a.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := a.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(a.done)
		a.out, _ = io.ReadAll(out)
		_ = a.cmd.Wait()
	}()
	return a, nil
}

// result waits for the end.
func (a *attacking) result() (r result) {
	<-a.done
	if err := json.Unmarshal(a.out, &r); err != nil {
		r.Broken = "the attack has failed: " + err.Error()
	}
	return r
}
