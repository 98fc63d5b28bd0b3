package carrier

import (
	"bytes"
	"crypto/tls"
	"encoding/hex"
	"io"
)

// A keyLog takes the traffic secrets of one connection as crypto/tls says them to whoever is its
// Config's KeyLogWriter. They leave the process no other way than they would without it: not at all.
type keyLog struct{ client, server []byte }

// of returns the configuration with the log in it. What GetConfigForClient chooses instead
// has none.
func (l *keyLog) of(cfg *tls.Config) *tls.Config {
	cfg = cfg.Clone()
	if w := cfg.KeyLogWriter; w != nil {
		cfg.KeyLogWriter = io.MultiWriter(w, l)
	} else {
		cfg.KeyLogWriter = l
	}
	return cfg
}

// Write implements io.Writer: a line of a label, the client's random and a secret, in hex.
func (l *keyLog) Write(line []byte) (int, error) {
	if f := bytes.Fields(line); len(f) == 3 {
		secret, err := hex.DecodeString(string(f[2]))
		if err != nil {
			return 0, err
		}
		switch string(f[0]) {
		case "CLIENT_TRAFFIC_SECRET_0":
			l.client = secret
		case "SERVER_TRAFFIC_SECRET_0":
			l.server = secret
		}
	}
	return len(line), nil
}
