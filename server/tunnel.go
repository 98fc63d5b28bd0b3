package server

import (
	"cmp"
	"crypto/ed25519"
	"fmt"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux"
	"github.com/mpsocks/mpsocks/mux/gate"
)

// tunnelConfig says in the tunnel's words what the configuration says in the
// operator's. Accept is left to the caller.
func tunnelConfig(cfg *conf.Server, log zerolog.Logger, capture *mux.Capture) (mux.ListenerConfig, error) {
	out := mux.ListenerConfig{
		Key:             ed25519.PrivateKey(cfg.PrivateKey),
		Clients:         make(map[[32]byte]string, len(cfg.Clients)),
		Advertise:       cfg.Advertise,
		DenyJoinInitial: cfg.BehindLoadBalancer,
		MaxSessions:     cfg.Limits.Sessions,
		// Without a limit per client the total is the only one.
		MaxSessionsPerClient: cmp.Or(cfg.Limits.SessionsPerClient, cfg.Limits.Sessions),
		MaxSubflows:          cfg.Limits.SubflowsPerSession,
		MaxStreams:           cmp.Or(cfg.Limits.StreamsPerClient, cfg.Limits.Streams),
		MaxFiles:             gate.Files(),
		MaxMemory:            memoryLimit(int64(cfg.Limits.Memory)),
		Capture:              capture,
		SessionTimeout:       cfg.SessionTimeout,
		Cover: mux.Cover{
			ALPN: cfg.Cover.ALPN, ServerName: cfg.Cover.ServerName,
			Silent: cfg.Cover.Upstream == conf.CoverNone,
		},
		Log: log,
	}
	if !out.Cover.Silent {
		out.Cover.Upstream = cfg.Cover.Upstream
	}
	for _, c := range cfg.Clients {
		keys := c.Keys()
		if len(keys) == 0 {
			return out, fmt.Errorf("client %s has no public key", c.Name)
		}
		for _, k := range keys {
			if len(k) != ed25519.PublicKeySize {
				return out, fmt.Errorf("client %s has a public key of %d bytes", c.Name, len(k))
			}
			out.Clients[[32]byte(k)] = c.Name
		}
	}
	for _, l := range cfg.Listen {
		out.Listen = append(out.Listen, mux.ListenAddr{Addr: l.Address, KernelMPTCP: l.KernelMPTCP})
	}
	var err error
	if out.Mode, err = mux.ParseMode(string(cfg.Mode)); err != nil {
		return out, err
	}
	for _, r := range cfg.Rules {
		class, err := mux.ParseClass(string(r.Class))
		if err != nil {
			return out, err
		}
		out.Rules = append(out.Rules, mux.Rule{
			User: r.User, To: r.To, Ports: [2]uint16{r.Ports.From, r.Ports.To}, DSCP: r.DSCP.Value(), Class: class,
		})
	}
	return out, nil
}
