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
	"strings"
)

// Any user of a machine may listen at a TCP address where nobody does: at that of a half that
// has not started, for one. Who asks there with the token would give it away. So a half proves
// first that it has the token too, for a number that was never asked before and for the port that
// it was asked at: another program cannot pass the question on to a half that is elsewhere.

// challengeBytes of randomness do not come twice.
const challengeBytes = 16

// ErrProof says that what listens at an address is not known to be the half whose token there is.
var ErrProof = errors.New("what listens there does not know the token of the half that is asked for, so it was not told: it is another program, a half of somebody else's or of another state_dir (-c FILE, or root, knows it), or one from before this version, which has to be started again")

// proofOf is what proves that a token is known.
func proofOf(token, challenge, port string) string {
	m := hmac.New(sha256.New, []byte("mpsocks admin proof "+token))
	m.Write([]byte(challenge + " " + port))
	return hex.EncodeToString(m.Sum(nil))
}

// prove answers a challenge with the port that it came to, and the proof. It says nothing of
// the half to who does not know the token.
func (p *porter) prove(w http.ResponseWriter, r *http.Request) {
	challenge := r.URL.Query().Get("challenge")
	c, _ := r.Context().Value(connKey{}).(net.Conn)
	if raw, err := hex.DecodeString(challenge); err != nil || len(raw) != challengeBytes || c == nil || p.token == "" {
		http.NotFound(w, r)
		return
	}
	port := portOf(c.LocalAddr())
	fmt.Fprintf(w, "%s %s\n", port, proofOf(p.token, challenge, port))
}

// portOf is the port of a TCP address, "" of others.
func portOf(a net.Addr) string {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return ""
	}
	return fmt.Sprint(t.Port)
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
	resp, err := c.send(ctx, http.MethodGet, "/proof?challenge="+challenge, nil, "")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if err != nil {
		return err
	}
	port, proof, _ := strings.Cut(strings.TrimSpace(string(body)), " ")
	wrong := resp.StatusCode != http.StatusOK || !c.Mapped && port != fmt.Sprint(c.Addr.Addr.Port())
	if wrong || !same(proof, proofOf(c.Token, challenge, port)) {
		return fmt.Errorf("%s: %w", c.Addr, ErrProof)
	}
	c.trusted = true
	return nil
}
