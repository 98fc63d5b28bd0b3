package admin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/status"
)

// answerLimit is how long an answer may be: thousands of clients and sessions.
const answerLimit = 64 << 20

// Client asks a half's admin address. No proxy of the environment is used: the address
// is here, or known.
type Client struct {
	Addr  conf.Admin
	Token string // "" = none
	// Config is the configuration file that the half has to run with, "" for any.
	Config string
	// Mapped says that the half may know itself by another address: a person has given this
	// one, which may lead through something to it.
	Mapped bool

	http *http.Client

	mu      sync.Mutex // guards trusted
	trusted bool       // what listens there has proved to know the token
}

// NewClient asks at addr with a token, which may be "".
func NewClient(addr conf.Admin, token string) *Client {
	transport := &http.Transport{Proxy: nil, DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10}
	if addr.Path != "" {
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", addr.Path)
		}
	}
	return &Client{Addr: addr, Token: token, http: &http.Client{
		Transport: transport,
		// A half sends nobody elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// URL is an address as a browser takes it, without the token.
func (c *Client) URL(path string) string {
	if c.Addr.Path != "" {
		return "http://localhost" + path
	}
	return "http://" + c.Addr.Addr.String() + path
}

// ErrToken says that the half asks for its token, and the one given is not it.
var ErrToken = errors.New("it asks for its token, which is in its state_dir and readable by its user alone: run as root or as that user, or give its file with -c")

// do asks with the token, by TCP when what listens there has proved that it is the half's: a
// Unix socket asks for none, and its directory says whose it is.
func (c *Client) do(ctx context.Context, method, path string, body any) (*http.Response, error) {
	token := c.Token
	if c.Addr.Path != "" {
		token = ""
	}
	if token != "" {
		if err := c.proven(ctx); err != nil {
			return nil, err
		}
	}
	resp, err := c.send(ctx, method, path, body, token)
	if err == nil && resp.StatusCode == http.StatusUnauthorized {
		resp.Body.Close()
		return nil, fmt.Errorf("%s: %w", c.Addr, ErrToken)
	}
	return resp, err
}

// send asks with that token.
func (c *Client) send(ctx context.Context, method, path string, body any, token string) (*http.Response, error) {
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		in = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.URL(path), in)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if method == http.MethodPost {
		req.Header.Set(controlHeader, "yes")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if opened, ok := errors.AsType[*net.OpError](err); ok {
			return nil, fmt.Errorf("nothing answers at %s: is it running, with admin: %s in its configuration? (%w)", c.Addr, c.Addr, opened.Err)
		}
		return nil, err
	}
	return resp, nil
}

// Raw returns the body of /status, fit for a terminal.
func (c *Client) Raw(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	resp, err := c.do(ctx, http.MethodGet, "/status", nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, answerLimit))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %s", c.Addr, resp.Status)
	}
	return status.PlainJSON(body), err
}

// Status returns the half's status.
func (c *Client) Status(ctx context.Context) (*status.Status, error) {
	body, err := c.Raw(ctx)
	if err != nil {
		return nil, err
	}
	s := new(status.Status)
	if err := json.Unmarshal(body, s); err != nil {
		return nil, fmt.Errorf("%s answers something else: is it mpsocks? (%w)", c.Addr, err)
	}
	if c.Config != "" && s.Config != c.Config {
		return nil, fmt.Errorf("at %s is a half with another configuration, %s", c.Addr, s.Config)
	}
	return s, nil
}

// Watch calls f with each new status until ctx ends or the half goes.
func (c *Client) Watch(ctx context.Context, f func(*status.Status)) error {
	resp, err := c.do(ctx, http.MethodGet, "/events", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", c.Addr, resp.Status)
	}
	lines := bufio.NewReaderSize(resp.Body, 1<<16)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return err
		}
		data, ok := strings.CutPrefix(line, "data: ")
		if !ok {
			continue
		}
		s := new(status.Status)
		if err := json.Unmarshal([]byte(data), s); err != nil {
			return err
		}
		f(s)
	}
}

// History returns the curves of the last minutes.
func (c *Client) History(ctx context.Context) ([]Sample, error) {
	resp, err := c.do(ctx, http.MethodGet, "/history", nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var out []Sample
	err = json.NewDecoder(io.LimitReader(resp.Body, answerLimit)).Decode(&out)
	return out, err
}

// Control asks for /reload or /drain and returns what it says.
func (c *Client) Control(ctx context.Context, what string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	resp, err := c.do(ctx, http.MethodPost, what, nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK, http.StatusUnprocessableEntity:
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		return nil, fmt.Errorf("%s does not offer %s: it is the other half's", c.Addr, what)
	default:
		return nil, fmt.Errorf("%s answers %s", c.Addr, resp.Status)
	}
	var result controlResult
	if err := json.NewDecoder(io.LimitReader(resp.Body, answerLimit)).Decode(&result); err != nil {
		return nil, fmt.Errorf("%s answers something else: is it mpsocks? (%w)", c.Addr, err)
	}
	if result.Error != "" {
		return nil, errors.New(result.Error)
	}
	for i, line := range result.Changes {
		result.Changes[i] = status.Plain(line)
	}
	return result.Changes, nil
}

// Act asks for one of the page's actions, such as "pause" of a path.
func (c *Client) Act(ctx context.Context, what string, a any) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	resp, err := c.do(ctx, http.MethodPost, "/actions/"+what, a)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	var said struct {
		Error string `json:"error"`
	}
	if json.NewDecoder(io.LimitReader(resp.Body, 1<<16)).Decode(&said) == nil && said.Error != "" {
		return errors.New(said.Error)
	}
	return fmt.Errorf("%s answers %s", c.Addr, resp.Status)
}

// Healthy is nil if the half answers that it is alive.
func (c *Client) Healthy(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 4*time.Second)
	defer cancel()
	if c.Config != "" {
		if _, err := c.Status(ctx); err != nil {
			return err // it is another one's health
		}
	}
	resp, err := c.send(ctx, http.MethodGet, "/healthz", nil, "") // which is open, here
	if err == nil && resp.StatusCode == http.StatusUnauthorized {
		resp.Body.Close()
		resp, err = c.do(ctx, http.MethodGet, "/healthz", nil)
	}
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10)) // a word of it is enough
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s: %s", c.Addr, resp.Status, strings.TrimSpace(string(said)))
	}
	return nil
}
