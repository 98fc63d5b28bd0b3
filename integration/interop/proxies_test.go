package interop

import (
	"bytes"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/mpsocks/mpsocks/integration/bench/halves"
)

// abcSum is the SHA-256 of "abc".
const abcSum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

// TestCurlProxies has curl speak every protocol that the SOCKS port knows, with
// and without users.
func TestCurlProxies(t *testing.T) {
	curl := need(t, "curl")
	body, _ := noise(webSize)
	guarded, err := halves.Start(mpsocks, halves.Config{
		Dir: t.TempDir(), Paths: halves.TwoPaths(), Allow: loopback,
		Client: "users: [{name: ann, password: \"a secret:\"}]\n", User: "ann", Password: "a secret:",
	})
	if err != nil {
		t.Fatal(err)
	}
	defer guarded.Kill()
	plain, secure := web(t, "tcp4", "127.0.0.1:0", false), web(t, "tcp4", "127.0.0.1:0", true)
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(plain.Listener.Addr().String())
	named := "http://localhost:" + port
	user := []string{"--proxy-user", "ann:a secret:"}
	for _, c := range []struct {
		name, url string
		args      []string
		users     bool
		refused   string // what curl's error has, instead of success
	}{
		{name: "socks4", url: plain.URL, args: []string{"--socks4"}},
		{name: "socks4a", url: named, args: []string{"--socks4a"}},
		{name: "socks4a with TLS", url: secure.URL, args: []string{"--socks4a"}},
		{name: "plain HTTP", url: plain.URL, args: []string{"--proxy"}},
		{name: "plain HTTP by name", url: named, args: []string{"--proxy"}},
		{name: "HTTP CONNECT", url: plain.URL, args: []string{"--proxytunnel", "--proxy"}},
		{name: "HTTP CONNECT with TLS", url: secure.URL, args: []string{"--proxy"}},
		{name: "SOCKS5 with a user", url: plain.URL, args: append(user, "--socks5-hostname"), users: true},
		{name: "plain HTTP with a user", url: plain.URL, args: append(user, "--proxy"), users: true},
		{name: "HTTP CONNECT with a user", url: secure.URL, args: append(user, "--proxy"), users: true},
		{name: "any authentication", url: plain.URL, args: append(user, "--proxy-anyauth", "--proxy"), users: true},
		{name: "plain HTTP without a password", url: plain.URL, args: []string{"--proxy"}, users: true, refused: "407"},
		{name: "HTTP CONNECT without a password", url: secure.URL, args: []string{"--proxy"}, users: true, refused: "407"},
		{name: "a wrong password", url: plain.URL, args: []string{"--proxy-user", "ann:wrong", "--proxy"}, users: true, refused: "407"},
		{name: "socks4a where there are users", url: named, args: []string{"--socks4a"}, users: true, refused: "91"},
	} {
		t.Run(c.name, func(t *testing.T) {
			proxy := pair.Proxy()
			if c.users {
				proxy = guarded.Proxy()
			}
			args := append([]string{"-q", "-sS", "--fail", "--max-time", "60", "--cacert", file}, append(c.args, proxy)...)
			if c.refused != "" {
				line := "\"$0\" \"$@\" 2>&1 || true"
				got := output(t, 70*time.Second, "/bin/sh", append([]string{"-c", line, curl}, append(args, c.url+"/")...)...)
				if !strings.Contains(string(got), c.refused) {
					t.Errorf("curl says %q, not %s", got, c.refused)
				}
				return
			}
			got := output(t, 70*time.Second, curl, append(args, c.url+"/")...)
			if !bytes.Equal(got, body) {
				t.Errorf("%d bytes came, not the %d that were served", len(got), len(body))
			}
			// An upload, and twice over one connection to the proxy.
			got = output(t, 70*time.Second, curl, append(args, "--data", "abc", c.url+"/sum", c.url+"/sum")...)
			if want := strings.Repeat(abcSum, 2); string(got) != want {
				t.Errorf("the sums are %q, not %q", got, want)
			}
		})
	}
}

// TestCurlPage opens the port as a browser would.
func TestCurlPage(t *testing.T) {
	got := output(t, 20*time.Second, need(t, "curl"), "-q", "-sS", "--fail", "--noproxy", "*", "http://"+pair.Proxy()+"/")
	if !strings.Contains(string(got), "This is a proxy") || !strings.Contains(string(got), "socks5://"+pair.Proxy()) {
		t.Errorf("the page is %q", got)
	}
}

// TestDigTruncated asks a name server whose answers do not fit into a datagram: a
// forward carries the question by TCP, too.
func TestDigTruncated(t *testing.T) {
	dig := need(t, "dig")
	server := truncating(t)
	free, err := halves.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	p, err := halves.Start(mpsocks, halves.Config{
		Dir: t.TempDir(), Paths: halves.TwoPaths(), Allow: loopback,
		Client: fmt.Sprintf("forwards: [{listen: %q, to: %q, proto: both}]\n", free[0], server),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	got := output(t, 20*time.Second, dig, "@127.0.0.1", "-p", fmt.Sprint(free[0].Port()), "+short", "+tries=2", "+time=3", knownName, "TXT")
	if n := strings.Count(string(got), "a long answer"); n != 40 {
		t.Errorf("dig has %d of 40 parts of the answer: %.100q", n, got)
	}
}

// truncating is a name server that answers by UDP with nothing but the mark of an
// answer that was cut off.
func truncating(t *testing.T) string {
	t.Helper()
	free, err := halves.FreePorts(1) // of both kinds
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", free[0].String())
	if err != nil {
		t.Fatal(err)
	}
	u, err := net.ListenPacket("udp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(); u.Close() })
	go func() { // ends with its socket
		b := make([]byte, 1500)
		for {
			n, from, err := u.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = u.WriteTo(answer(b[:n], true), from)
		}
	}()
	go func() { // ends with its listener
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			var head [2]byte
			if _, err := io.ReadFull(c, head[:]); err == nil {
				q := make([]byte, binary.BigEndian.Uint16(head[:]))
				if _, err := io.ReadFull(c, q); err == nil {
					a := answer(q, false)
					_, _ = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(a))), a...))
				}
			}
			c.Close()
		}
	}()
	return l.Addr().String()
}

// answer answers a question: cut off, or with 40 texts.
func answer(q []byte, truncated bool) []byte {
	var p dnsmessage.Parser
	h, err := p.Start(q)
	if err != nil {
		return nil
	}
	question, err := p.Question()
	if err != nil {
		return nil
	}
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: h.ID, Response: true, Truncated: truncated, RecursionAvailable: true})
	_ = b.StartQuestions()
	_ = b.Question(question)
	_ = b.StartAnswers()
	for i := range 40 {
		if !truncated {
			_ = b.TXTResource(dnsmessage.ResourceHeader{Name: question.Name, Class: dnsmessage.ClassINET, TTL: 1},
				dnsmessage.TXTResource{TXT: []string{fmt.Sprintf("a long answer, part %d of it %s", i, strings.Repeat(".", 80))}})
		}
	}
	msg, _ := b.Finish()
	return msg
}
