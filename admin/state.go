package admin

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/durable"
)

const (
	tokenFile = "admin.token"
	// tokenBytes of randomness nobody guesses.
	tokenBytes = 16
	// tokenLimit is how long the file may be.
	tokenLimit = 1024
	// announcedLimit is how long what announce writes may be.
	announcedLimit = 64 << 10
)

var errNoToken = errors.New("holds no token")

// errNoState says that there is no directory to keep things in.
var errNoState = errors.New("there is no state_dir")

// loadToken reads the token of a state directory, or makes one: a file of the owner's
// alone.
func loadToken(dir string) (string, error) {
	if dir == "" {
		return "", errNoState
	}
	if err := durable.Home(dir); err != nil {
		return "", err
	}
	token, err := ReadToken(dir)
	for range 10 {
		if !errors.Is(err, errNoToken) {
			break
		}
		time.Sleep(20 * time.Millisecond) // the other half is just writing it
		token, err = ReadToken(dir)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return token, err
	}
	raw := make([]byte, tokenBytes)
	rand.Read(raw)
	token = hex.EncodeToString(raw)
	err = conf.WriteSecret(filepath.Join(dir, tokenFile), []byte(token+"\n"), false)
	if errors.Is(err, fs.ErrExist) { // the other half was first
		return loadToken(dir)
	}
	return token, err
}

// ReadToken reads the token of a state directory. One that others can read, or could have put
// there, is none.
func ReadToken(dir string) (string, error) {
	path := filepath.Join(dir, tokenFile)
	raw, err := durable.ReadSecret(path, tokenLimit)
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(raw))
	if len(token) < 2*tokenBytes {
		return "", fmt.Errorf("%s %w: remove it, and start again", path, errNoToken)
	}
	return token, nil
}

// announce writes down where a half is, for those who look for it on this machine.
func announce(dir, half string, addrs []conf.Admin) error {
	if dir == "" {
		return errNoState
	}
	path := filepath.Join(dir, half+".admin")
	if len(addrs) == 0 {
		return nil
	}
	if err := durable.Home(dir); err != nil {
		return err
	}
	return conf.WriteSecret(path, []byte(list(addrs)), true)
}

func list(addrs []conf.Admin) string {
	var b strings.Builder
	for _, a := range addrs {
		b.WriteString(a.String() + "\n")
	}
	return b.String()
}

// retract removes what announce wrote, unless another has written there since.
func retract(dir, half string, addrs []conf.Admin) {
	path := filepath.Join(dir, half+".admin")
	if have, err := durable.Read(path, announcedLimit); err == nil && dir != "" && string(have) == list(addrs) {
		os.Remove(path)
	}
}

// Announced returns where a half of this machine said that it is.
func Announced(dir, half string) []conf.Admin {
	raw, err := durable.Read(filepath.Join(dir, half+".admin"), announcedLimit)
	if err != nil {
		return nil
	}
	var out []conf.Admin
	for line := range strings.Lines(string(raw)) {
		var a conf.Admin
		if a.UnmarshalText([]byte(strings.TrimSpace(line))) == nil {
			out = append(out, a)
		}
	}
	return out
}
