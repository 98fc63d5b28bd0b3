package status

import (
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
)

// What dialling may end with says in words what is wrong and what to do, as the system
// words it here and as others do.
func TestDiagnose(t *testing.T) {
	dial := func(err error) string {
		return (&net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 7443}, Err: err}).Error()
	}
	call := func(e syscall.Errno) string { return dial(os.NewSyscallError("connect", e)) }
	for err, want := range map[string][2]string{
		call(syscall.ENETUNREACH):    {"no route to the server", "ip route get"},
		call(syscall.EHOSTUNREACH):   {"says a firewall or a router", "firewalld"},
		call(syscall.ECONNREFUSED):   {"192.0.2.1:7443 refuses connections", "start the server"},
		"connection refused":         {"the server refuses connections", "start the server"},
		call(syscall.EADDRNOTAVAIL):  {"address is not there", "plug it in"},
		call(syscall.ENODEV):         {"interface is not there", "plug it in"},
		call(syscall.EPERM):          {"forbids", "firewall"},
		call(syscall.EINVAL):         {"blackhole route", "VPN"},
		call(syscall.EACCES):         {"prohibiting route", "VPN"},
		dial(os.ErrDeadlineExceeded): {"no answer", "does the server run"},
		"context deadline exceeded":  {"no answer", "does the server run"},
		"resolve the server's name: lookup s.example: means 0.0.0.0, which is no host": {"blocks the server's name", "resolv.conf"},
		"lookup s.example: i/o timeout": {"no name server answers", "resolv.conf"},
		(&net.DNSError{Err: "no such host", Name: "s.example", IsNotFound: true}).Error():                                                                          {"name is not known", "resolv.conf"},
		"resolve the server's name: lookup s.example: read udp 127.0.0.1:57268->127.0.0.53:53: read: connection refused":                                           {"no name server answers", "resolv.conf"},
		(&net.DNSError{Err: "server misbehaving", Name: "s.example"}).Error():                                                                                      {"no name server answers", "resolv.conf"},
		"TLS with 192.0.2.1:7443: read tcp 192.0.2.1:7443: i/o timeout":                                                                                            {"192.0.2.1:7443 takes connections and does not answer", "load balancer"},
		"192.0.2.1:7443 takes connections and does not answer":                                                                                                     {"192.0.2.1:7443 takes connections and does not answer", "MTU"},
		"192.0.2.1:7443, [2001:db8::1]:443 take connections and do not answer":                                                                                     {"192.0.2.1:7443, [2001:db8::1]:443 take connections and do not answer", "server.addresses"},
		"TLS with 192.0.2.1:7443: EOF":                                                                                                                             {"closes the connection", "log in"},
		"TLS with 192.0.2.1:7443: tls: first record does not look like a TLS handshake":                                                                            {"without TLS", "compare the port"},
		"TLS with 192.0.2.1:443: server: has a key of type RSA, not Ed25519: it is not mpsocks":                                                                    {"a web server", "right port"},
		"TLS with 192.0.2.1:443: remote error: tls: protocol version not supported":                                                                                {"a web server", "right port"},
		"TLS with 192.0.2.1:443: tls: received unexpected handshake message of type *tls.clientHelloMsg when waiting for *tls.serverHelloMsg":                      {"speaks no TLS", "right port"},
		"TLS with 192.0.2.1:7443: remote error: tls: bad certificate":                                                                                              {"does not know this client's key", "clients list"},
		"TLS with 192.0.2.1:7443: server's key is aaaa=, expected bbbb=":                                                                                           {"the server's key differs", "server.public_key"},
		"session with 192.0.2.1:7443: the server does not know this client's key: add its public key to the server's clients (remote error: tls: bad certificate)": {"does not know this client's key", "clients list"},
		"dial tcp 192.0.2.1:7443: connectex: A socket operation was attempted to an unreachable network.":                                                          {"no route to the server", "route"},
		"no server address of the family of fd02::2":                                                                                                               {"no address of a family", "server.addresses"},
		"session with 192.0.2.1:7443: the server refuses: limits.sessions_per_client is reached":                                                                   {"its limits.sessions_per_client is reached", "raise limits.sessions_per_client"},
		"TLS with 192.0.2.1:443: the server does not speak mpsocks/1: is it the right address? (remote error: tls: no application protocol)":                       {"looks into TLS", "server.cover"},
		"TLS with 192.0.2.1:7443: the server has the right key and knows no encrypted hello: it is of a release before 0.1.0":                                      {"of a release before 0.1.0", "upgrade the server"},
		"TLS with 192.0.2.1:7443: the server has the right key and does not take the hello: its `cover` has another server_name than this client's":                {"another server_name", "cover.server_name"},
		"something new": {"something new", ""},
	} {
		got := Diagnose(err)
		if !strings.Contains(got.Says, want[0]) || !strings.Contains(got.Remedy, want[1]) || want[1] == "" && got.Remedy != "" {
			t.Errorf("%s: %+v, want %q", err, got, want)
		}
	}
	for _, c := range causes {
		if c.Cause != (Cause{}) && (c.Says == "" || c.Remedy == "") {
			t.Errorf("%q has no words or no remedy", c.has)
		}
	}
}
