//go:build linux

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"syscall"

	"github.com/mpsocks/mpsocks/integration/bench/load"
	"github.com/mpsocks/mpsocks/integration/bench/relay"
	"github.com/mpsocks/mpsocks/integration/bench/target"
)

// childArg as first argument makes this program one of its own children.
const childArg = "-child"

// A child is one of the bench's helper processes: this program again, in
// another role. It ends with the bench, whatever happens to that.
type child struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *json.Decoder
}

// startChild starts a role and returns the addresses that it serves.
func startChild(role string, args ...string) (*child, []netip.AddrPort, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	c := &child{cmd: exec.Command(self, append([]string{childArg, role}, args...)...)}
	c.cmd.Stderr = os.Stderr
	// Helpers wait in blocking system calls, which the runtime's preemption
	// signals would interrupt.
	c.cmd.Env = append(os.Environ(), "GODEBUG=asyncpreemptoff=1")
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	c.out = json.NewDecoder(bufio.NewReader(out))
	if err := c.cmd.Start(); err != nil {
		return nil, nil, err
	}
	var served []netip.AddrPort
	if err := c.out.Decode(&served); err != nil {
		c.stop()
		return nil, nil, fmt.Errorf("helper %s did not start: %w", role, err)
	}
	return c, served, nil
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// stop ends the child at once and waits for it.
func (c *child) stop() {
	_ = c.cmd.Process.Kill() // it may have ended
	_ = c.cmd.Wait()         // killed, as asked
}

// request is what the bench asks the load child for: exactly one is set.
type request struct {
	Flood  *load.FloodSpec  `json:",omitempty"`
	Quiet  *load.QuietSpec  `json:",omitempty"`
	Paced  *load.PacedSpec  `json:",omitempty"`
	Hold   *load.HoldSpec   `json:",omitempty"`
	Churn  *load.ChurnSpec  `json:",omitempty"`
	Stream *load.StreamSpec `json:",omitempty"`
}

// response answers a request in kind.
type response struct {
	Error  string             `json:",omitempty"`
	Flood  *load.FloodResult  `json:",omitempty"`
	Quiet  *load.QuietResult  `json:",omitempty"`
	Paced  *load.PacedResult  `json:",omitempty"`
	Hold   *load.HoldResult   `json:",omitempty"`
	Churn  *load.ChurnResult  `json:",omitempty"`
	Stream *load.StreamResult `json:",omitempty"`
}

// send hands a request to the load child; exactly one receive must follow.
func (c *child) send(q request) error { return json.NewEncoder(c.in).Encode(q) }

func (c *child) receive() (response, error) {
	var r response
	if err := c.out.Decode(&r); err != nil {
		return r, fmt.Errorf("load generator: %w", err)
	}
	if r.Error != "" {
		return r, errors.New(r.Error)
	}
	return r, nil
}

func (c *child) ask(q request) (response, error) {
	if err := c.send(q); err != nil {
		return response{}, err
	}
	return c.receive()
}

// runChild is a child's main; it returns when the role ends, which only a
// failure or the end of the bench brings about. A relay's half that sees the
// other one end has done its work.
func runChild(args []string) error {
	err := runRole(args)
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return nil
	}
	return err
}

func runRole(args []string) error {
	ready := func(served ...netip.AddrPort) { _ = json.NewEncoder(os.Stdout).Encode(served) }
	one := func(a netip.AddrPort) { ready(a) }
	var peer netip.AddrPort
	if len(args) > 1 {
		var err error
		if peer, err = netip.ParseAddrPort(args[1]); err != nil {
			return err
		}
	}
	switch args[0] {
	case "udp-echo":
		return target.UDP(one)
	case "tcp-target":
		return target.TCP(func(bulk, echo netip.AddrPort) { ready(bulk, echo) })
	case "relay-server":
		return relay.Server(one)
	case "relay-client":
		return relay.Client(peer, one)
	case "tls-server":
		return relay.TLSServer(peer, one)
	case "tls-client":
		return relay.TLSClient(peer, one)
	case "load":
		ready()
		return serveLoad()
	}
	return fmt.Errorf("no role %q", args[0])
}

// serveLoad answers requests one by one until the bench ends.
func serveLoad() error {
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var q request
		if err := in.Decode(&q); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		r, err := answer(q)
		if err != nil {
			r = response{Error: err.Error()}
		}
		if err := out.Encode(r); err != nil {
			return err
		}
	}
}

func answer(q request) (r response, err error) {
	switch {
	case q.Flood != nil:
		r.Flood = new(load.FloodResult)
		*r.Flood, err = load.Flood(*q.Flood)
	case q.Paced != nil:
		r.Paced = new(load.PacedResult)
		*r.Paced, err = load.Paced(*q.Paced)
	case q.Quiet != nil:
		r.Quiet = new(load.QuietResult)
		*r.Quiet, err = load.Quiet(*q.Quiet)
	case q.Hold != nil:
		// Held until the child is stopped.
		r.Hold = new(load.HoldResult)
		*r.Hold, _, err = load.Hold(*q.Hold)
	case q.Churn != nil:
		r.Churn = new(load.ChurnResult)
		*r.Churn, err = load.Churn(*q.Churn)
	case q.Stream != nil:
		r.Stream = new(load.StreamResult)
		*r.Stream, err = load.Stream(*q.Stream)
	}
	return r, err
}
