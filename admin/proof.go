package admin

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
)

// Any user of a machine may listen at a TCP address where nobody does: at that of a half that
// has not started, for one. Who asks there with the token would give it away. So a half proves
// first that it has the token too, for a number that was never asked before and for the address
// that it was asked at: another program cannot pass the question on to a half that is elsewhere,
// be it at the same port of another address.

// challengeBytes of randomness do not come twice.
const challengeBytes = 16

// ErrProof says that what listens at an address is not known to be the half whose token there is.
var ErrProof = errors.New("what listens there does not know the token of the half that is asked for, so it was not told: it is another program, a half of somebody else's or of another state_dir (-c FILE, or root, knows it), or one from before this version, which has to be started again")

// proofOf is what proves that a token is known.
func proofOf(token, challenge, at string) string {
	m := hmac.New(sha256.New, []byte("mpsocks admin proof "+token))
	m.Write([]byte(challenge + " " + at))
	return hex.EncodeToString(m.Sum(nil))
}

// prove answers a challenge with the address that it came to, and the proof. It says nothing of
// the half to who does not know the token.
func (p *porter) prove(w http.ResponseWriter, r *http.Request) {
	challenge := r.URL.Query().Get("challenge")
	c, _ := r.Context().Value(connKey{}).(net.Conn)
	if raw, err := hex.DecodeString(challenge); err != nil || len(raw) != challengeBytes || c == nil || p.token == "" {
		http.NotFound(w, r)
		return
	}
	at := c.LocalAddr().String()
	fmt.Fprintf(w, "%s %s\n", at, proofOf(p.token, challenge, at))
}

// proven asks for the proof, once.
func (c *Client) proven(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.trusted {
		return nil
	}
	raw := make([]byte, challengeBytes)
	rand.Read(raw)
	challenge := hex.EncodeToString(raw)
	var asked string // the address that the connection leads to: what is asked for may be "every address"
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { asked = i.Conn.RemoteAddr().String() }})
	resp, err := c.send(ctx, http.MethodGet, "/proof?challenge="+challenge, nil, "")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if err != nil {
		return err
	}
	at, proof, _ := strings.Cut(strings.TrimSpace(string(body)), " ")
	if resp.StatusCode != http.StatusOK || !c.Mapped && at != asked || !same(proof, proofOf(c.Token, challenge, at)) {
		return fmt.Errorf("%s: %w", c.Addr, ErrProof)
	}
	c.trusted = true
	return nil
}
