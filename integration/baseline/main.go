package baseline

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"syscall"
)

// The commands that Main looks for as the first argument: the server wants its address, the client its SOCKS5 address
// and the server's.
const (
	ServerCommand = "kernel-mptcp-server"
	ClientCommand = "kernel-mptcp-client"
)

// Main runs a half if the first argument asks for it, and then never returns. A program that starts the baseline from
// its own binary calls it before it looks at its arguments.
func Main() {
	if len(os.Args) < 3 || os.Args[1] != ServerCommand && os.Args[1] != ClientCommand {
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := start(ctx, os.Args[1:])
	if err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "kernel MPTCP baseline:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func start(ctx context.Context, args []string) error {
	var at [2]netip.AddrPort
	for i, s := range args[1:] {
		var err error
		if at[i], err = netip.ParseAddrPort(s); err != nil {
			return err
		}
	}
	if args[0] == ServerCommand {
		return Serve(ctx, at[0])
	}
	return Client(ctx, at[0], at[1])
}

// accept hands each connection to a goroutine, until the context ends.
func accept(ctx context.Context, l net.Listener, handle func(net.Conn)) error {
	defer l.Close()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() { // ends with the connection
			defer c.Close()
			defer context.AfterFunc(ctx, func() { c.Close() })()
			handle(c)
		}()
	}
}

// splice copies both ways until either end is done.
func splice(a, b net.Conn) {
	go func() { // ends with b, which the other direction's end closes
		io.Copy(a, b)
		a.Close()
	}()
	io.Copy(b, a)
	b.Close()
}
