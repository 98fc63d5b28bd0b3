package integration

import (
	"fmt"
	"go/ast"
	"go/constant"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// stated are the numbers of documents that are a constant of the program's: the document's
// own words, the constant, by its package's directory, and what it has to be for the words
// to be true.
var stated = []struct {
	doc, words string
	constant   string
	value      int64
}{
	{"README.md", "A client has 16 paths and 63 subflows at most.", "mux/engine.MaxPaths", 16},
	{"README.md", "A client has 16 paths and 63 subflows at most.", "mux/engine.MaxSubflows", 63},
	{"docs/protocol.md", "within 26 hours of the server's", "mux/proof.leeway", int64(26 * time.Hour)},
	{"docs/protocol.md", "At most 32 MiB in 65,536 packets are sent without a Data ACK.", "mux/dsn.SendWindow", 32 << 20},
	{"docs/protocol.md", "At most 32 MiB in 65,536 packets are sent without a Data ACK.", "mux/dsn.SendSegments", 65536},
	{"docs/protocol.md", "A receiver takes mappings up to 64 MiB ahead, with 32,768 gaps between them at most.", "mux/dsn.ReceiveWindow", 64 << 20},
	{"docs/protocol.md", "A receiver takes mappings up to 64 MiB ahead, with 32,768 gaps between them at most.", "mux/dsn.maxHeld", 32768},
	{"docs/protocol.md", "2 GiB were sent within the last 2 minutes", "mux/dsn.wrapBytes", 2 << 30},
	{"docs/protocol.md", "2 GiB were sent within the last 2 minutes", "mux/dsn.msl", int64(2 * time.Minute)},
	{"docs/protocol.md", "after 256 KiB or 25 ms without", "mux.ackEvery", 256 << 10},
	{"docs/protocol.md", "after 256 KiB or 25 ms without", "mux.ackDelay", int64(25 * time.Millisecond)},
	{"docs/protocol.md", "two round trips and a quarter of a second later", "mux/engine.dataAckTime", int64(time.Second / 4)},
	{"docs/protocol.md", "Where another path shows that the peer is there, 50 ms are enough.", "mux/engine.lackTime", int64(50 * time.Millisecond)},
	{"docs/protocol.md", "every 150 ms until its Data ACK", "mux.finAgain", int64(150 * time.Millisecond)},
	{"docs/protocol.md", "What is not acknowledged within half a second", "mux.finishLimit", int64(time.Second / 2)},
	{"docs/protocol.md", "by more than one subflow within the last two seconds", "mux/reseq.spreadMemory", int64(2 * time.Second)},
	{"docs/protocol.md", "packets of less than 400 bytes in the mean for 4 ms at most", "mux/reseq.reseqLeast", 400},
	{"docs/protocol.md", "packets of less than 400 bytes in the mean for 4 ms at most", "mux/reseq.reseqSmall", int64(4 * time.Millisecond)},
	{"docs/protocol.md", "a payload of more than 65,479 bytes", "mux/packet.MaxWhole6", 65479},
	{"docs/protocol.md", "the first has 61,440 bytes from the UDP header on", "mux/packet.fragmentCut", 61440},
	{"docs/protocol.md", "halves of eight datagrams at most", "mux/packet.reassembleSlots", 8},
	{"docs/protocol.md", "A client may be answered 256 a second.", "server.pingsPerSecond", 256},
	{"docs/protocol.md", "At most 100 a second for a client.", "server.failuresPerSecond", 100},
	{"docs/protocol.md", "ports 7, 9, 11, 12, 13, 53, 1080 and 1081", "mux/packet.EchoPort", 7},
	{"docs/protocol.md", "ports 7, 9, 11, 12, 13, 53, 1080 and 1081", "mux/packet.DiscardPort", 9},
	{"docs/protocol.md", "ports 7, 9, 11, 12, 13, 53, 1080 and 1081", "mux/packet.AlivePort", 11},
	{"docs/protocol.md", "ports 7, 9, 11, 12, 13, 53, 1080 and 1081", "mux/packet.WishPort", 12},
	{"docs/protocol.md", "ports 7, 9, 11, 12, 13, 53, 1080 and 1081", "mux/packet.WordPort", 13},
	{"docs/protocol.md", "ports 7, 9, 11, 12, 13, 53, 1080 and 1081", "mux/packet.ResolverPort", 53},
	{"docs/protocol.md", "ports 7, 9, 11, 12, 13, 53, 1080 and 1081", "mux/packet.ExitPort", 1080},
	{"docs/protocol.md", "ports 7, 9, 11, 12, 13, 53, 1080 and 1081", "mux/packet.PublishPort", 1081},
	{"docs/protocol.md", "Ours tells of a port half a second to a second after its end", "client.endTick", int64(time.Second / 2)},
	{"docs/protocol.md", "It is said again when such a port sends again, 20 times a second at most.", "server.refusalRate", 20},
	{"docs/protocol.md", "Ours ends an association that is refused for two seconds", "client.refusalTime", int64(2 * time.Second)},
	{"docs/protocol.md", "Ours tells every 50 s of the ports that have sent nothing", "client.aliveTick", int64(50 * time.Second)},
	{"docs/protocol.md", "and every 50 s; it is believed for 150 s", "client.wishAgain", int64(50 * time.Second)},
	{"docs/protocol.md", "and every 50 s; it is believed for 150 s", "mux/engine.wishLife", int64(150 * time.Second)},
	{"docs/protocol.md", "when these have been stalled for a second or have ended", "mux/engine.ownWait", int64(time.Second)},
	{"docs/protocol.md", "Ours keeps eight streams waiting at a port.", "client.publishSpare", 8},
	{"docs/protocol.md", "with its reply, or 100 ms later if that takes longer", "server.knownTime", int64(100 * time.Millisecond)},
	{"docs/protocol.md", "The port closes ten seconds after the last stream.", "server.doorRest", int64(10 * time.Second)},
	{"docs/protocol.md", "each side may send 256 KiB", "mux/stream.initialWindow", 256 << 10},
	{"docs/protocol.md", "about every second until it is echoed, ten times at most", "mux.maxAdverts", 10},
	{"docs/protocol.md", "about every second until it is echoed, ten times at most", "mux.advertEvery", int64(time.Second)},
	{"docs/protocol.md", "after 15 s of silence on a path in use", "mux/engine.keepBusy", int64(15 * time.Second)},
	{"docs/protocol.md", "every 15 ms while a path carries bulk, six times when a session or a path wakes, then every 0.1 to 1 s while it sends", "mux/gauge.DelayEvery", int64(15 * time.Millisecond)},
	{"docs/protocol.md", "every 15 ms while a path carries bulk, six times when a session or a path wakes, then every 0.1 to 1 s while it sends", "mux/gauge.DelayLeast", 6},
	{"docs/protocol.md", "every 15 ms while a path carries bulk, six times when a session or a path wakes, then every 0.1 to 1 s while it sends", "mux/gauge.DelayBeside", int64(100 * time.Millisecond)},
	{"docs/protocol.md", "every 15 ms while a path carries bulk, six times when a session or a path wakes, then every 0.1 to 1 s while it sends", "mux/gauge.DelayActive", int64(time.Second)},
	{"docs/protocol.md", "no more than 1 KiB in 20 s rests", "mux/engine.trickle", 1 << 10},
	{"docs/protocol.md", "no more than 1 KiB in 20 s rests", "mux/engine.restAfter", int64(20 * time.Second)},
	{"docs/protocol.md", "and then 10 to 48 as the path is seen to bear it", "mux/engine.keepMost", int64(48 * time.Second)},
	{"docs/protocol.md", "only when 52 s have brought nothing by the path", "mux/engine.keepLost", int64(52 * time.Second)},
	{"docs/protocol.md", "5 s at the client, 10 s at the server", "mux.handshakeTimeout", int64(5 * time.Second)},
	{"docs/protocol.md", "5 s at the client, 10 s at the server", "mux.acceptTimeout", int64(10 * time.Second)},
	{"docs/security.md", "a lobby of 1,024", "client/admission.maxPending", 1024},
	{"docs/security.md", "three mistakes are free", "client/admission.guessFree", 3},
	{"docs/security.md", "one in 3 s at last", "client/admission.guessMost", int64(3 * time.Second)},
	{"docs/security.md", "written of every 15 s at most", "client/admission.guessLog", int64(15 * time.Second)},
	{"docs/security.md", "only after 200 ms of silence of the known one", "client.takeoverTime", int64(200 * time.Millisecond)},
	{"docs/security.md", "HTTP is net/http's with headers of 64 KiB", "client.maxWebHeader", 64 << 10},
	{"docs/security.md", "ten seconds for all of it", "client.handshakeTime", int64(10 * time.Second)},
	{"docs/security.md", "or cut after two seconds", "client.grantTime", int64(2 * time.Second)},
	{"docs/security.md", "bodies that never come, more than 64", "admin.mostConns", 64},
	{"docs/security.md", "256 KiB wait for one over TCP, 32 MiB for all of them together", "client.udpStreamOut", 256 << 10},
	{"docs/security.md", "256 KiB wait for one over TCP, 32 MiB for all of them together", "client.udpStreamsOut", 32 << 20},
	{"docs/security.md", "little more than what has come, and 8 KiB", "client.udpStreamIn", 8 << 10},
	{"docs/security.md", "1,024 at a time, a quarter of it for one address", "client.maxVisitors", 1024},
	{"docs/security.md", "500 a second are exchanged", "client.swapsPerSecond", 500},
	{"docs/security.md", "4,096 at a time at each port", "client.maxForwardPeers", 4096},
	{"docs/security.md", "has 64 at once of which the server has not said", "client.lookupsEach", 64},
	{"docs/security.md", "the others wait for five seconds, in their order", "client.lookupTime", int64(5 * time.Second)},
	{"docs/security.md", "1,024 wait at once, and 256 are with the resolver", "client/tun.maxConnecting", 1024},
	{"docs/security.md", "1,024 wait at once, and 256 are with the resolver", "client/tun.maxNames", 256},
	{"docs/security.md", "of one's own the oldest after a second", "client/tun.seatTime", int64(time.Second)},
	{"docs/security.md", "they stay with the kernel for three seconds", "mux.patienceOfStrangers", int64(3 * time.Second)},
	{"docs/security.md", "has 128 of 512 places", "mux/gate.Share", 128},
	{"docs/security.md", "has 128 of 512 places", "mux/gate.Places", 512},
	{"docs/security.md", "128 are kept for addresses that have proved a key", "mux/gate.Reserve", 128},
	{"docs/security.md", "an address that has proved a key has 2,000 a second of its own", "mux/gate.homeRate", 2000},
	{"docs/security.md", "200 a second and core are looked at", "mux.knocksPerCore", 200},
	{"docs/security.md", "50 handshakes a second and core without a proof", "mux.strangersPerCore", 50},
	{"docs/security.md", "one address has 128 of 1,024 places", "mux.mostGuests", 1024},
	{"docs/security.md", "one address has 128 of 1,024 places", "mux.guestShare", 128},
	{"docs/security.md", "256 of the 4,096 addresses that are remembered", "mux/gate.homesEach", 256},
	{"docs/security.md", "256 of the 4,096 addresses that are remembered", "mux/gate.memory", 4096},
	{"docs/security.md", "over its quarter for two seconds", "mux.shareOf", 4},
	{"docs/security.md", "over its quarter for two seconds", "mux.overTime", int64(2 * time.Second)},
	{"docs/security.md", "4 KiB of answers wait", "mux/engine.controlMost", 4 << 10},
	{"docs/security.md", "256 at once for one key, and 40 a second and core", "mux.handshakesAtOnce", 256},
	{"docs/security.md", "256 at once for one key, and 40 a second and core", "mux.handshakesPerCore", 40},
	{"docs/security.md", "64 lines at once and one in two seconds", "mux/chatter.atOnce", 64},
	{"docs/security.md", "64 lines at once and one in two seconds", "mux/chatter.every", int64(2 * time.Second)},
	{"docs/security.md", "32 are answered at once and one a second", "mux/carrier.maxKeyUpdates", 32},
	{"docs/security.md", "16 MiB in a session", "mux/reseq.reseqBytes", 16 << 20},
	{"docs/security.md", "16,384 that wait for an answer", "server.maxQuestions", 16384},
	{"docs/security.md", "five attempts at once and 20 in all for one CONNECT", "server.maxRunning", 5},
	{"docs/security.md", "five attempts at once and 20 in all for one CONNECT", "server.maxAttempts", 20},
	{"docs/security.md", "128 at once for a client and 512 in all", "server/names.maxQueriesPerClient", 128},
	{"docs/security.md", "128 at once for a client and 512 in all", "server/names.maxQueries", 512},
	{"docs/security.md", "4,096 answers are remembered, and 8 MiB of them", "server/names.maxKnown", 4096},
	{"docs/security.md", "4,096 answers are remembered, and 8 MiB of them", "server/names.maxKnownBytes", 8 << 20},
}

// TestDocsHaveTheNumbers: what documents say of a number is what the program has.
func TestDocsHaveTheNumbers(t *testing.T) {
	dir := root(t)
	all := constants{}
	for _, s := range sources(t) {
		all.add(path.Dir(s.name), s.file)
	}
	texts := map[string]string{}
	for _, s := range stated {
		if _, read := texts[s.doc]; !read {
			text, err := os.ReadFile(filepath.Join(dir, s.doc))
			if err != nil {
				t.Fatal(err)
			}
			texts[s.doc] = strings.Join(strings.Fields(string(text)), " ")
		}
		if !strings.Contains(texts[s.doc], s.words) {
			t.Errorf("%s does not say %q, which is %s", s.doc, s.words, s.constant)
		}
		got, err := all.value(s.constant)
		if err != nil {
			t.Errorf("%s: %v", s.constant, err)
		} else if !constant.Compare(got, token.EQL, constant.MakeInt64(s.value)) {
			t.Errorf("%s says %q, and %s is %s", s.doc, s.words, s.constant, got)
		}
	}
}

// constants are expressions by the names of constants, "mux/dsn.SendWindow".
type constants map[string]ast.Expr

// add takes those of one file of the package in dir.
func (c constants) add(dir string, f *ast.File) {
	for _, d := range f.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		for _, spec := range g.Specs {
			v := spec.(*ast.ValueSpec)
			for i, name := range v.Names {
				if i < len(v.Values) {
					c[dir+"."+name.Name] = v.Values[i]
				}
			}
		}
	}
}

// value computes a constant.
func (c constants) value(name string) (constant.Value, error) {
	e, ok := c[name]
	if !ok {
		return nil, fmt.Errorf("there is no constant %s", name)
	}
	return c.compute(e, name[:strings.LastIndexByte(name, '.')])
}

// units are the constants of other people's that ours are made of.
var units = map[string]time.Duration{
	"Millisecond": time.Millisecond, "Second": time.Second, "Minute": time.Minute, "Hour": time.Hour,
}

// compute computes an expression within the package in dir.
func (c constants) compute(e ast.Expr, dir string) (constant.Value, error) {
	switch e := e.(type) {
	case *ast.BasicLit:
		return constant.ToInt(constant.MakeFromLiteral(e.Value, e.Kind, 0)), nil
	case *ast.ParenExpr:
		return c.compute(e.X, dir)
	case *ast.Ident:
		return c.value(dir + "." + e.Name)
	case *ast.SelectorExpr:
		if unit, ok := units[e.Sel.Name]; ok {
			return constant.MakeInt64(int64(unit)), nil
		}
	case *ast.BinaryExpr:
		x, err := c.compute(e.X, dir)
		if err != nil {
			return nil, err
		}
		y, err := c.compute(e.Y, dir)
		if err != nil {
			return nil, err
		}
		switch e.Op {
		case token.SHL:
			n, _ := constant.Uint64Val(y)
			return constant.Shift(x, e.Op, uint(n)), nil
		case token.QUO:
			return constant.BinaryOp(x, token.QUO_ASSIGN, y), nil // of integers
		}
		return constant.BinaryOp(x, e.Op, y), nil
	}
	return nil, fmt.Errorf("%T is more than this computes", e)
}
