package conf

import (
	"fmt"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
)

// TUN is a network device through which the programs of this machine reach the tunnel
// without knowing of it, as root or with CAP_NET_ADMIN (Linux; elsewhere without routes).
type TUN struct {
	// Device is its name; none means that there is no device.
	Device string `mapstructure:"device" reload:"live"`
	// Addresses are the device's own, one of each family; a family without one is not
	// carried.
	Addresses []netip.Addr `mapstructure:"addresses" reload:"live"`
	// MTU is the device's, in bytes.
	MTU int `mapstructure:"mtu" reload:"live"`
	// Routes are the destinations that lead to the device. With everything of one family
	// and nothing of the other, the other is refused, so that nothing goes around.
	Routes []netip.Prefix `mapstructure:"routes" reload:"live"`
	// Exclude is what takes the way that it would take without the device.
	Exclude []Exclusion `mapstructure:"exclude" reload:"live"`
	// LAN leaves what the routing table has besides its default routes as it is: the
	// networks that the machine is part of.
	LAN bool `mapstructure:"lan" reload:"live"`
	// DNS has name servers at whatever address, of the local network too, asked in the
	// tunnel, as long as everything leads to the device.
	DNS bool `mapstructure:"dns" reload:"live"`
	// WhenDown says what becomes of the traffic while there is no session.
	WhenDown WhenDown `mapstructure:"when_down" reload:"live"`
}

// TUNUser is the user that what comes from the device is of, for rules and status.
const TUNUser = "tun"

// WhenDown is what becomes of a device's traffic while there is no session.
type WhenDown string

// What may become of it.
const (
	WhenDownStop   WhenDown = "stop"   // it waits, or fails; also after the client was killed
	WhenDownAround WhenDown = "around" // it goes as it would without the device
)

// Everything says whether the device takes all destinations of a family.
func (t *TUN) Everything() bool {
	for _, r := range t.Routes {
		if r.Bits() == 0 {
			return true
		}
	}
	return false
}

// tunMark is the mark of the subflows of a client with a device, if the configuration has
// none of its own.
const tunMark = 28016 // 0x6d70, "mp"

// SocketMark is the mark of what must not come back to the client by rules of routing; 0 is
// none.
func (c *Client) SocketMark() uint32 {
	if c.Mark == 0 && c.TUN.Device != "" && runtime.GOOS == "linux" {
		return tunMark
	}
	return uint32(c.Mark)
}

// maxUID is the highest user ID; the one above says "none" to the kernel.
const maxUID = 1<<32 - 2

// Exclusion is traffic that does not go through a device. Exactly one of its parts is set.
type Exclusion struct {
	// To and From are the addresses that it goes to, and comes from.
	To, From netip.Prefix
	// Ports are those that it goes to, by TCP, UDP or both (Proto).
	Ports PortRange
	// Service are ports of this machine: what services here answer to those outside.
	Service PortRange
	// Proto is ProtoTCP, ProtoUDP or ProtoBoth, for Ports.
	Proto Proto
	// User is the name of the user whose programs it is of.
	User string
	// UIDs are the same as numbers, from and to, if User is "".
	UIDs *[2]uint32
	// Cgroup is the control group, below the root of version 2, whose programs it is of.
	Cgroup string
}

// exclusionForms is what an exclusion may look like, for errors.
const exclusionForms = "192.168.0.0/16, from:192.168.1.2, tcp:22, udp:123, port:53, service:22, user:backup, user:1000-1999 or cgroup:system.slice/x.service"

// UnmarshalText reads an exclusion in one of the forms of exclusionForms.
func (e *Exclusion) UnmarshalText(text []byte) error {
	in := strings.TrimSpace(string(text))
	kind, rest, _ := strings.Cut(in, ":")
	var out Exclusion
	var err error
	switch kind {
	case "from":
		out.From, err = parsePrefix(rest)
	case "tcp", "udp", "port":
		out.Proto = Proto(kind)
		if kind == "port" {
			out.Proto = ProtoBoth
		}
		out.Ports, err = parsePorts(rest)
	case "service":
		out.Service, err = parsePorts(rest)
	case "user":
		err = out.user(rest)
	case "cgroup":
		out.Cgroup, err = cleanCgroup(rest)
	default:
		if out.To, err = parsePrefix(in); err != nil {
			return fmt.Errorf("%q is none of %s", shorten(in), exclusionForms)
		}
	}
	if err != nil {
		return fmt.Errorf("%q: %w", shorten(in), err)
	}
	*e = out
	return nil
}

func parsePorts(in string) (r PortRange, err error) {
	if err := r.UnmarshalText([]byte(in)); err != nil {
		return r, err
	}
	if r.IsZero() {
		return r, fmt.Errorf("a port is missing")
	}
	return r, nil
}

// user reads a user's name, number, or a range of numbers.
func (e *Exclusion) user(in string) error {
	from, to, isRange := strings.Cut(in, "-")
	if !isRange {
		to = from
	}
	a, errA := strconv.ParseUint(from, 10, 32)
	b, errB := strconv.ParseUint(to, 10, 32)
	switch {
	case errA == nil && errB == nil && a <= b && b <= maxUID:
		e.UIDs = &[2]uint32{uint32(a), uint32(b)}
	case errA == nil && errB == nil:
		return fmt.Errorf("%s is no range of user IDs", in)
	case in == "" || len(in) > 256 || strings.ContainsAny(in, " \t\n:/"):
		return fmt.Errorf("%q is no user's name, user ID or range of these", shorten(in))
	default:
		e.User = in
	}
	return nil
}

// cleanCgroup reads the name of a control group, which never leaves the hierarchy.
func cleanCgroup(in string) (string, error) {
	name := strings.Trim(in, "/")
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part == "." || part == ".." || strings.ContainsAny(part, "\x00\n") {
			return "", fmt.Errorf("%q is not a control group, such as system.slice/chrony.service", shorten(in))
		}
	}
	return name, nil
}

// String is the reverse of UnmarshalText.
func (e Exclusion) String() string {
	switch {
	case e.To.IsValid():
		return e.To.String()
	case e.From.IsValid():
		return "from:" + e.From.String()
	case !e.Ports.IsZero() && e.Proto == ProtoBoth:
		return "port:" + e.Ports.String()
	case !e.Ports.IsZero():
		return string(e.Proto) + ":" + e.Ports.String()
	case !e.Service.IsZero():
		return "service:" + e.Service.String()
	case e.User != "":
		return "user:" + e.User
	case e.UIDs != nil && e.UIDs[0] == e.UIDs[1]:
		return fmt.Sprintf("user:%d", e.UIDs[0])
	case e.UIDs != nil:
		return fmt.Sprintf("user:%d-%d", e.UIDs[0], e.UIDs[1])
	case e.Cgroup != "":
		return "cgroup:" + e.Cgroup
	}
	return ""
}
