package handshake

import (
	"testing"

	"github.com/mpsocks/mpsocks/mux/mptcp"
)

// Handshakes that must fail, and hostile bytes in place of them.

// Whatever is not the handshake is answered by MP_TCPRST, and is an error.
func TestHandshakeRefuses(t *testing.T) {
	capable := func(change func(c *mptcp.Capable)) func([]byte) []byte {
		c := mptcp.Capable{Phase: mptcp.PhaseSYNACK, Version: 1, Flags: mptcp.FlagSHA256, Sender: hsServerKey}
		change(&c)
		return hsSay(&c)
	}
	for name, step := range map[string]func([]byte) []byte{
		"version 2":       capable(func(c *mptcp.Capable) { c.Version = 2 }),
		"version 0":       capable(func(c *mptcp.Capable) { c.Version = 0 }),
		"extension":       capable(func(c *mptcp.Capable) { c.Flags |= mptcp.FlagExtensible }),
		"no HMAC-SHA256":  capable(func(c *mptcp.Capable) { c.Flags = 0 }),
		"wrong phase":     capable(func(c *mptcp.Capable) { c.Phase = mptcp.PhaseACK }),
		"our own key":     capable(func(c *mptcp.Capable) { c.Sender = hsClientKey }),
		"another subtype": hsSay(&mptcp.Prio{}),
		"not an option":   hsSay(hsData("HTTP/1.1 400")),
		"bad length":      hsSay(hsData("\x1e\x00\x00\x00")),
		"malformed":       hsSay(hsData("\x1e\x05\x01\x01\x00")),
	} {
		p := &hsPeer{steps: []func([]byte) []byte{step}}
		_, err := Capable(p, hsClientKey, false)
		if err == nil {
			t.Errorf("%s was taken", name)
		}
		hsHex(t, name, p.sent.Bytes(), "1e0401011e048001")
	}
	syn := mptcp.Capable{Version: 1, Flags: mptcp.FlagSHA256}
	third := func(change func(c *mptcp.Capable)) *mptcp.Capable {
		c := mptcp.Capable{
			Phase: mptcp.PhaseACK, Version: 1, Flags: mptcp.FlagSHA256, Sender: hsClientKey, Receiver: hsServerKey,
		}
		change(&c)
		return &c
	}
	for name, o := range map[string]interface{ Append([]byte) []byte }{
		"wrong key back":       third(func(c *mptcp.Capable) { c.Receiver++ }),
		"our own key":          third(func(c *mptcp.Capable) { c.Sender = hsServerKey }),
		"checksum changed":     third(func(c *mptcp.Capable) { c.Flags |= mptcp.FlagChecksum }),
		"with data":            third(func(c *mptcp.Capable) { c.Phase = mptcp.PhaseACKData }),
		"SYN again":            &syn,
		"a DSS":                &mptcp.DSS{},
		"join in its place":    &mptcp.Join{},
		"version 2 at the end": third(func(c *mptcp.Capable) { c.Version = 2 }),
	} {
		p := &hsPeer{steps: []func([]byte) []byte{hsSay(&syn, o)}}
		first, err := ReadFirst(p)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := AcceptCapable(p, &first, hsServerKey, false); err == nil {
			t.Errorf("%s was taken", name)
		}
		hsHex(t, name, p.sent.Bytes(), "1e0c01011122334455667788"+"1e048001")
	}
	for name, o := range map[string]interface{ Append([]byte) []byte }{
		"version 0":  &mptcp.Capable{Flags: mptcp.FlagSHA256},
		"third join": &mptcp.Join{Phase: mptcp.PhaseACK},
		"a DSS":      &mptcp.DSS{HasAck: true},
		"TLS in TLS": hsData("\x16\x03\x01"),
		"cut":        hsData("\x1e\x0c\x10"),
		"nothing":    hsData(""),
	} {
		p := &hsPeer{steps: []func([]byte) []byte{hsSay(o)}}
		if o, err := ReadFirst(p); err == nil {
			t.Errorf("%s was taken as %v", name, o.Subtype)
		}
		reset := "1e048001"
		if name == "cut" || name == "nothing" { // who has gone hears nothing
			reset = ""
		}
		hsHex(t, name, p.sent.Bytes(), reset)
	}
	// The fourth message must be a Data ACK and nothing more.
	for name, d := range map[string]mptcp.DSS{
		"no ack":    {},
		"a mapping": {HasAck: true, Ack8: true, HasMap: true, DSN8: true, Length: 5},
	} {
		p := &hsPeer{steps: []func([]byte) []byte{
			func(sent []byte) []byte {
				syn := mptcp.Join{Phase: mptcp.PhaseSYNACK, Nonce: 1}
				proof := mptcp.JoinHMAC(hsServerKey, hsClientKey, 1, hsNonce(sent))
				copy(syn.HMAC[:8], proof[:])
				return d.Append(syn.Append(nil))
			},
		}}
		if err := Join(p, Params{Local: hsClientKey, Remote: hsServerKey}); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

// FuzzHandshakeServer feeds the server's side with hostile bytes: it never
// panics, never joins without the HMAC, and never reads beyond the handshake.
func FuzzHandshakeServer(f *testing.F) {
	ack := mptcp.Capable{Phase: mptcp.PhaseACK, Version: 1, Flags: mptcp.FlagSHA256, Sender: hsClientKey, Receiver: hsServerKey}
	f.Add(hsSay(&mptcp.Capable{Version: 1, Flags: mptcp.FlagSHA256}, &ack, hsTrailer)(nil))
	f.Add(hsSay(&mptcp.Join{Token: 1, Nonce: 2}, &mptcp.Join{Phase: mptcp.PhaseACK}, hsTrailer)(nil))
	f.Add([]byte("\x1e\x04\x01\x01\x1e\x04\x80\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p := &hsPeer{}
		p.in.Write(b)
		first, err := ReadFirst(p)
		if err != nil {
			return
		}
		if first.Subtype == mptcp.MPJoin {
			if AcceptJoin(p, &first, Params{Local: hsServerKey, Remote: hsClientKey}) == nil {
				t.Fatal("joined without the keys")
			}
			return
		}
		r, err := AcceptCapable(p, &first, hsServerKey, false)
		if err != nil {
			return
		}
		if used := len(b) - p.in.Len(); used != 24 {
			t.Fatalf("%d bytes were read, not 24", used)
		}
		if r.Remote == hsServerKey {
			t.Fatal("both keys are one")
		}
	})
}

// FuzzHandshakeClient does the same with the client's side.
func FuzzHandshakeClient(f *testing.F) {
	f.Add(hsSay(&mptcp.Capable{Phase: mptcp.PhaseSYNACK, Version: 1, Flags: mptcp.FlagSHA256, Sender: hsServerKey}, hsTrailer)(nil))
	f.Add(hsSay(&mptcp.Join{Phase: mptcp.PhaseSYNACK}, &mptcp.DSS{HasAck: true})(nil))
	f.Add([]byte("\x1e\x04\x81\x02"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p := &hsPeer{}
		p.in.Write(b)
		if _, err := Capable(p, hsClientKey, true); err == nil && len(b)-p.in.Len() != 12 {
			t.Fatalf("%d bytes were read, not 12", len(b)-p.in.Len())
		}
		p = &hsPeer{}
		p.in.Write(b)
		if Join(p, Params{Local: hsClientKey, Remote: hsServerKey}) == nil {
			t.Fatal("joined a server without the keys")
		}
	})
}
