package paths

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// linkGroups are the kernel's groups for what may lead a path another way (rtnetlink(7)): interfaces,
// addresses, routes, and the rules by which a VPN has its own table count for what leaves.
var linkGroups = []uint{
	unix.RTNLGRP_LINK,
	unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
	unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE,
	unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE,
}

// watchLinks pokes events when an interface, an address, a route or a rule changes, until
// ctx ends or the socket does not work: then something may have been missed and the error
// says so.
func watchLinks(ctx context.Context, events chan<- struct{}) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("watch interfaces: %w", err)
	}
	f := os.NewFile(uintptr(fd), "netlink")
	defer f.Close()
	to := unix.SockaddrNetlink{Family: unix.AF_NETLINK}
	for _, group := range linkGroups {
		to.Groups |= 1 << (group - 1)
	}
	if err := unix.Bind(fd, &to); err != nil {
		return fmt.Errorf("watch interfaces: %w", err)
	}
	defer context.AfterFunc(ctx, func() { f.SetReadDeadline(time.Unix(1, 0)) })()
	poke(events)
	b := make([]byte, 1) // that something is another way is all that counts: the rest of each message is dropped
	for {
		_, err := f.Read(b)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !errors.Is(err, unix.ENOBUFS): // else more came than there was room for
			return fmt.Errorf("watch interfaces: %w", err)
		}
		poke(events)
	}
}
