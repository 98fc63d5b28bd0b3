package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mpsocks/mpsocks/integration/bench/socks"
)

const (
	quietCount = 300
	quietEvery = 10 * time.Millisecond
)

// answer sends every datagram back.
func answer(at string) error {
	c, err := net.ListenPacket("udp", at)
	if err != nil {
		return err
	}
	b := make([]byte, 65536)
	for {
		n, from, err := c.ReadFrom(b)
		if err != nil {
			return err
		}
		if _, err := c.WriteTo(b[:n], from); err != nil {
			return err
		}
	}
}

// roundTrips prints the median round trip of a quiet flow, in microseconds.
func roundTrips(to, proxy string) error {
	dial, prefix := to, []byte(nil)
	if proxy != "" {
		c, err := (&socks.Dialer{Proxy: proxy}).Open()
		if err != nil {
			return err
		}
		defer c.Close()
		bound, err := socks.Request(c, 3, "0.0.0.0:0")
		if err != nil {
			return err
		}
		if bound.Addr().IsUnspecified() {
			bound = netip.AddrPortFrom(netip.MustParseAddrPort(proxy).Addr(), bound.Port())
		}
		dial = bound.String()
		if prefix, err = socks.AppendDatagram(nil, to, nil); err != nil {
			return err
		}
	}
	c, err := net.Dial("udp", dial)
	if err != nil {
		return err
	}
	defer c.Close()
	b := make([]byte, 2048)
	var all []time.Duration
	for i := range uint32(quietCount) {
		began := time.Now()
		out := append(append([]byte(nil), prefix...), make([]byte, 60)...)
		binary.BigEndian.PutUint32(out[len(prefix):], i)
		if _, err := c.Write(out); err != nil {
			return err
		}
		c.SetReadDeadline(began.Add(time.Second))
		for {
			n, err := c.Read(b)
			if err != nil {
				break // lost
			}
			if n >= 60 && binary.BigEndian.Uint32(b[n-60:]) == i {
				all = append(all, time.Since(began))
				break
			}
		}
		time.Sleep(time.Until(began.Add(quietEvery)))
	}
	if len(all) < quietCount/2 {
		return fmt.Errorf("%d of %d came back", len(all), quietCount)
	}
	slices.Sort(all)
	fmt.Println(all[len(all)/2].Microseconds())
	return nil
}

// quiet returns the median round trip of a quiet flow through a front.
func (r *rig) quiet(on running, proxy bool) (time.Duration, error) {
	args := []string{r.self, "-ask", net.JoinHostPort(target, echoPort)}
	if proxy {
		args = append(args, "-proxy", socksAddr)
	}
	line := on.command(args)
	out, err := exec.Command(line[0], line[1:]...).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("%w: %s", err, out)
	}
	us, err := strconv.Atoi(strings.TrimSpace(string(out)))
	return time.Duration(us) * time.Microsecond, err
}
