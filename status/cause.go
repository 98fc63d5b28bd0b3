package status

import (
	"regexp"
	"strings"
)

// A Cause is what an error of the network means to a person, and what to do about it.
type Cause struct {
	Says   string // what is wrong
	Remedy string // what helps; "" where nothing is known to
}

// Remedies that several errors have.
const (
	remedyRoute   = "the path needs a route to the server: `ip route get ADDRESS oif INTERFACE fibmatch` shows what the system has"
	remedyReach   = "does the server run, does its firewall let the port through, and does the network of this path?"
	remedyPortal  = "open a browser by this network, and log in"
	remedyKey     = "server.public_key has to be what `mpsocks check -c server.yaml` shows on the server; if it is, somebody on the way answers in its place"
	remedyClient  = "the server's clients list needs this client's key: `mpsocks check` shows it"
	remedyNames   = "look at /etc/resolv.conf, or give the server's address as a number"
	remedyPlug    = "plug it in, or bring it up: the path is used when it is there"
	remedyPort    = "is it the right port? What listens there is another program, or what a server's cover leads strangers to: who has another `server.cover`, or a date that is more than a day off, is one"
	remedyOther   = "compare the port of server.addresses with the server's listen; in a network that wants a login, open a browser by it and log in"
	remedyRefused = "start the server, and compare the port of server.addresses with its listen, and the address with the server's: a name may mean another one in this network"
	remedyForbid  = "look at this machine's firewall, and at what the client's user may do"
	remedyRefusal = "have the server's firewall let its port through (firewalld refuses so; a cloud has a second one), and compare the address with the server's; if only this path has it, look at its router"
	remedyKill    = "`ip route get ADDRESS` shows the route: a VPN that lets nothing past it makes such ones; except the server's address from it"
)

// causes are the errors of dialling the server, of its name, of TLS and of the handshake,
// by what their texts have. The first that fits counts: what is said first is the more
// particular.
var causes = []struct {
	has string
	Cause
}{
	{"address of the family", Cause{"the path has no address of a family that the server has", "add an address of the other family to server.addresses"}},
	{"network is unreachable", Cause{"no route to the server", remedyRoute}},
	{"network unreachable", Cause{"no route to the server", remedyRoute}},
	{"no route to host", Cause{"the server cannot be reached, says a firewall or a router", remedyRefusal}},
	{"unreachable host", Cause{"the server cannot be reached, says a firewall or a router", remedyRefusal}},
	{"unreachable network", Cause{"no route to the server", remedyRoute}},
	{"connect: invalid argument", Cause{"the system forbids it: a blackhole route to the server", remedyKill}},
	{"connect: permission denied", Cause{"the system forbids it: a prohibiting route, or a missing privilege", remedyKill}},
	{"which is no host", Cause{"the name server blocks the server's name", remedyNames}},
	{"no such host", Cause{"the server's name is not known", remedyNames}},
	{"server misbehaving", Cause{"no name server answers", remedyNames}},
	{"lookup ", Cause{"no name server answers", remedyNames}},
	{"no answer for ", Cause{"no name server answers", remedyNames}},
	{"connection refused", Cause{"the server" + refuses, remedyRefused}},
	{"actively refused", Cause{"the server" + refuses, remedyRefused}},
	{"does not look like a TLS handshake", Cause{"something else answers, without TLS: another program, or a captive portal?", remedyOther}},
	{"first record does not look", Cause{"something else answers, without TLS: another program, or a captive portal?", remedyOther}},
	{"is it the right address?", Cause{"something else answers: a web server, or one that looks into TLS on the way?", "compare the port of server.addresses with the server's listen, and server.cover with the server's cover; try another network"}},
	{"it is not mpsocks", Cause{"something else answers: a web server?", remedyPort}},
	{"protocol version not supported", Cause{"something else answers: a web server?", remedyPort}},
	{"tls: received unexpected", Cause{"something else answers, which speaks no TLS as a server does", remedyPort}},
	{"no such device", Cause{"the interface is not there", remedyPlug}},
	{"cannot assign requested address", Cause{"the address is not there", remedyPlug}},
	{"operation not permitted", Cause{"the system forbids it (a firewall, or a missing privilege)", remedyForbid}},
	{"of a release before 0.1.0", Cause{"the server is of a release before 0.1.0", "upgrade the server first: a newer one works with older clients"}},
	{"does not take the hello", Cause{"the server's cover has another server_name than this client's", "give both halves the same cover.server_name: `mpsocks clients add` writes the server's into a client's file"}},
	{"server's key is ", Cause{"TLS: the server's key differs", remedyKey}},
	{"does not know this client's key", Cause{"the server does not know this client's key", remedyClient}},
	{"certificate required", Cause{"the server does not know this client's key", remedyClient}},
	{"bad certificate", Cause{"the server does not know this client's key", remedyClient}},
	{"TLS with ", Cause{}}, // what follows may mean more: see silence
	{"i/o timeout", Cause{"no answer", remedyReach}},
	{"deadline exceeded", Cause{"no answer", remedyReach}},
	{"connection attempt failed", Cause{"no answer", remedyReach}},
	{"EOF", Cause{"who answers closes the connection: a captive portal?", remedyPortal}},
	{"connection reset", Cause{"the connection is reset on the way", "something between here and the server does not let it through: try another port, 443 for one, or another name for others to see (`cover.server_name`, both halves)"}},
}

// refuses is said of who refuses connections.
const refuses = " refuses connections: does it run, at this port?"

// refusing finds who does.
var refusing = regexp.MustCompile(`dial tcp (\S+): .*refused`)

// limitName is a setting of the server as a refusal names it.
var limitName = regexp.MustCompile(`\blimits\.[a-z_]+`)

// IsLimit says that the server refused for a limit of its own.
func IsLimit(err string) bool { return limitName.MatchString(err) }

// IsRefusal says that somebody refused a connection at once.
func IsRefusal(err string) bool {
	return strings.Contains(err, "connection refused") || strings.Contains(err, "actively refused")
}

// silent finds who took connections and said nothing.
var silent = regexp.MustCompile(`(\S+(?:, \S+)*) (takes connections and does not answer|take connections and do not answer)`)

// dialled finds with whom TLS was begun.
var dialled = regexp.MustCompile(`TLS with (\S+): `)

// silence is what it means that somebody takes connections and does not answer.
func silence(who, does string) Cause {
	return Cause{
		who + " " + does,
		"does that server hang, or the one that a load balancer leads to? Have a load balancer ask the server itself whether it is well " +
			"(docs/recipes/haproxy.md), and give a second server in server.addresses; if it is well, this path loses large packets: lower the interface's MTU; " +
			"or something on the way does not let TLS with this name through (`cover.server_name`, both halves); or this machine's date is more than a day off, " +
			"where the server has a cover",
	}
}

// Diagnose puts an error of the network into words that say what is wrong and what to
// look at. What is not known is said as it is.
func Diagnose(err string) Cause {
	if name := limitName.FindString(err); name != "" {
		return Cause{"the server has no room for this client: its " + name + " is reached", "raise " + name + " at the server, or have each machine use a key of its own: `mpsocks clients add`"}
	}
	if found := silent.FindStringSubmatch(err); found != nil {
		return silence(found[1], found[2])
	}
	inTLS := false
	for _, c := range causes {
		switch {
		case !strings.Contains(err, c.has):
		case c.Cause == Cause{}:
			inTLS = true
		case inTLS && c.Says == "no answer":
			who := "the server"
			if found := dialled.FindStringSubmatch(err); found != nil {
				who = found[1]
			}
			return silence(who, "takes connections and does not answer")
		case strings.HasSuffix(c.Says, refuses):
			if found := refusing.FindStringSubmatch(err); found != nil {
				return Cause{found[1] + refuses, c.Remedy}
			}
			return c.Cause
		default:
			return c.Cause
		}
	}
	return Cause{Says: err}
}

// Explain is what Diagnose says without the remedy.
func Explain(err string) string { return Diagnose(err).Says }
