package carrier

// A hush lies between a socket and the TLS of a server while it is not known who has
// connected: what the other end says is kept, and nothing is answered.
type hush struct {
	*socket
	on    bool // nothing is answered
	heard []byte
}

// Hush has Server keep what the other end says and answer nothing, until Answer.
func (t *TLS) Hush() { t.hush.on = true }

// Answer ends Hush, before anything was answered. It is called within the handshake,
// whose goroutine Server's is.
func (t *TLS) Answer() { t.hush.on, t.hush.heard = false, nil }

// Hushed says that nothing has been answered.
func (t *TLS) Hushed() bool { return t.hush.on }

// Heard is all that the other end has said, also what the handshake has not looked at; it
// is for whoever takes the TCP connection over after Server has failed.
func (t *TLS) Heard() []byte {
	k := t.sock
	if k.inR < k.inW {
		t.hush.heard = append(t.hush.heard, k.in[k.inR:k.inW]...)
		k.inR = k.inW
		k.giveBack()
	}
	return t.hush.heard
}

// Read implements net.Conn for crypto/tls.
func (h *hush) Read(p []byte) (int, error) {
	n, err := h.socket.Read(p)
	if h.on {
		h.heard = append(h.heard, p[:n]...)
	}
	return n, err
}

// Write implements net.Conn for crypto/tls.
func (h *hush) Write(p []byte) (int, error) {
	if h.on {
		return len(p), nil
	}
	return h.socket.Write(p)
}
