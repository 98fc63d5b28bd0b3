package client

import (
	"crypto/ed25519"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux"
)

// How a running client takes another configuration. The conf package says by its
// `reload` tags which settings that is.

// muxConfig translates the configuration for the tunnel.
func muxConfig(cfg *conf.Client, log zerolog.Logger, capture *mux.Capture) (mux.ClientConfig, error) {
	mode, err := mux.ParseMode(string(cfg.Mode))
	if err != nil {
		return mux.ClientConfig{}, err
	}
	out := mux.ClientConfig{
		Key:            ed25519.PrivateKey(cfg.PrivateKey),
		Addresses:      cfg.Server.Addresses,
		Mode:           mode,
		Capture:        capture,
		SessionTimeout: cfg.SessionTimeout,
		// limits.streams is the client's own, and may change.
		MaxStreams: conf.MaxTable,
		Cover:      mux.Cover{ALPN: cfg.Server.Cover.ALPN, ServerName: cfg.Server.Cover.ServerName},
		Mark:       cfg.SocketMark(),
		Log:        log,
	}
	for _, k := range cfg.Server.Keys() {
		out.ServerKeys = append(out.ServerKeys, ed25519.PublicKey(k))
	}
	for _, r := range cfg.Rules {
		class, err := mux.ParseClass(string(r.Class))
		if err != nil {
			return mux.ClientConfig{}, err
		}
		out.Rules = append(out.Rules, mux.Rule{
			User: r.User, To: r.To, Ports: [2]uint16{r.Ports.From, r.Ports.To}, DSCP: r.DSCP.Value(), Class: class,
		})
	}
	return out, nil
}
