// Package status is what a half says about itself: one model, which the page,
// the terminal view, the metrics and the JSON of /status all show. It is plain
// data with the words that people read; the halves fill it in, and package admin
// adds what takes two looks, such as rates.
//
// Units are in the names: bytes, seconds, bits a second; counters count from the
// start of the half.
package status

import (
	"time"

	"github.com/mpsocks/mpsocks/mux"
	"github.com/mpsocks/mpsocks/mux/gate"
)

// Halves.
const (
	Client = "client"
	Server = "server"
)

// Status is a half at one moment. What only one of the halves has is left out of
// the other's JSON.
type Status struct {
	Half    string    `json:"half"`
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	Time    time.Time `json:"time"`
	Listen  []string  `json:"listen"`
	Ready   bool      `json:"ready"`
	Reasons []string  `json:"reasons"` // why it is not ready
	// Warnings are what works and may not always, or not for all: halves of releases that
	// differ, a client's file with a mistake.
	Warnings []string `json:"warnings,omitempty"`
	LogLevel string   `json:"log_level,omitempty"`
	// Config is the path of its configuration file.
	Config string `json:"config,omitempty"`
	// Capture is the file of the capture that runs, or ran last.
	Capture    string `json:"capture,omitempty"`
	Capturing  bool   `json:"capturing"`
	CanCapture bool   `json:"can_capture"`

	// The client's one session, or the server's.
	Session  *Session  `json:"session,omitempty"`
	Sessions []Session `json:"sessions,omitempty"`
	// Clients are the server's, connected or not.
	Clients []Peer `json:"clients,omitempty"`
	// Programs is the traffic of applications, the fastest first.
	Programs []Program `json:"programs"`

	Associations int       `json:"associations"`
	Streams      int       `json:"streams"`
	Pending      int       `json:"pending"` // connections in their handshake
	Mappings     int       `json:"mappings"`
	Queries      int       `json:"queries"`     // names that are being asked for
	Names        int       `json:"names"`       // remembered
	InnerPorts   int       `json:"inner_ports"` // in use
	Forwards     []Forward `json:"forwards,omitempty"`
	// Published are the client's ports at the server.
	Published []Publication `json:"published,omitempty"`

	// Datagrams and bytes of CONNECTs between applications (client) or the
	// internet (server) and the tunnel.
	DatagramsUp   uint64            `json:"datagrams_up"`
	DatagramsDown uint64            `json:"datagrams_down"`
	StreamUp      uint64            `json:"stream_up_bytes"`
	StreamDown    uint64            `json:"stream_down_bytes"`
	Drops         map[string]uint64 `json:"drops"`              // datagrams by reason
	Refused       map[string]uint64 `json:"refused"`            // requests by reason; at the server also handshakes
	Connects      map[string]uint64 `json:"connects,omitempty"` // CONNECTs by what became of them
	SocketErrors  uint64            `json:"socket_errors"`      // ICMP errors at mappings
	// Gate is who stands at the server and has not proved a key, and Memory what its
	// sessions hold, in bytes of buffers.
	Gate   *Gate   `json:"gate,omitempty"`
	Memory *Memory `json:"memory,omitempty"`

	// Counts are what all sessions of the server have counted, those too that have ended.
	Counts *Counts `json:"counts,omitempty"`
	// What the server has sent to, and received from, clients that were revoked.
	RevokedSent     uint64 `json:"revoked_sent_bytes,omitempty"`
	RevokedReceived uint64 `json:"revoked_received_bytes,omitempty"`

	// Events are those of the last hour, the newest first.
	Events []Event `json:"events"`
}

// Gate, Memory and Counts are as mux has them.
type (
	Gate   = gate.Counts
	Memory = mux.MemoryUse
	Counts = mux.Counts
)

// All returns the sessions of either half.
func (s *Status) All() []Session {
	if s.Session != nil {
		return []Session{*s.Session}
	}
	return s.Sessions
}

// Forward is a fixed forward of the client.
type Forward struct {
	Listen string `json:"listen"`
	Peers  int    `json:"peers"`
}

// Publication is a port at the server that leads to a program beside the client.
type Publication struct {
	Listen string `json:"listen"`
	Proto  string `json:"proto"`
	To     string `json:"to"`
	// Problem says why it does not, empty if it does.
	Problem string `json:"problem,omitempty"`
}

// Peer is a client as the server sees it.
type Peer struct {
	Name     string `json:"name"`
	Sessions int    `json:"sessions"`
	Mappings int    `json:"mappings"`
	Streams  int    `json:"streams"`
	Sent     uint64 `json:"sent_bytes"` // to the client
	Received uint64 `json:"received_bytes"`
	SentBPS  int64  `json:"sent_bps"`
	RecvBPS  int64  `json:"received_bps"`
	// Quota is the most bytes a month, 0 for none; Used is what of it is gone.
	Quota uint64 `json:"quota_bytes,omitempty"`
	Used  uint64 `json:"used_bytes,omitempty"`
	// Error is the last thing that went wrong with it, and when.
	Error   string    `json:"error,omitempty"`
	ErrorAt time.Time `json:"error_at,omitzero"`
	// Version is its release, the newest of its sessions'.
	Version string `json:"version,omitempty"`
}

// Session is one multipath connection. Both halves call it by the same number.
type Session struct {
	ID         string            `json:"id"` // see mux.Session.ID, in hexadecimal
	Peer       string            `json:"peer,omitempty"`
	Up         bool              `json:"up"`
	Server     string            `json:"server,omitempty"`       // address in use, at the client
	Version    string            `json:"peer_version,omitempty"` // the other half's release
	Mode       string            `json:"mode"`
	Renewals   uint64            `json:"renewals"` // sessions before this one
	Paths      []Path            `json:"paths"`
	Subflows   []Subflow         `json:"subflows"`
	Flows      int               `json:"flow_count"`
	Streams    int               `json:"streams"`
	Queued     int               `json:"queued_bytes"`
	InFlight   int               `json:"in_flight_bytes"`
	Sent       uint64            `json:"sent_bytes"`
	Copied     uint64            `json:"copied_bytes"`
	Reinjected uint64            `json:"reinjected_packets"`
	Received   uint64            `json:"received_bytes"`
	Packets    uint64            `json:"received_packets"`
	Repeats    uint64            `json:"received_repeats"`
	Restored   uint64            `json:"resequenced_packets"`
	Expired    uint64            `json:"resequencing_expired"`
	Drops      map[string]uint64 `json:"drops"`
}

// Path is a way between the halves.
type Path struct {
	Name    string    `json:"name"`
	State   State     `json:"state"`            // Up, Resting and others: see words.go
	Cause   string    `json:"cause,omitempty"`  // why, in words
	Remedy  string    `json:"remedy,omitempty"` // what helps, where that is known
	Since   time.Time `json:"since"`
	Bind    string    `json:"bind,omitempty"`
	Backup  bool      `json:"backup"`
	Metered bool      `json:"metered"`
	Paused  bool      `json:"paused"`

	UpBPS     int64   `json:"up_bps"`      // now, of what the tunnel carries; up is what this half sends
	DownBPS   int64   `json:"down_bps"`    //
	Share     float64 `json:"share"`       // of all bytes now, 0 to 1
	RTT       float64 `json:"rtt_seconds"` // 0 = not known
	Jitter    float64 `json:"jitter_seconds"`
	Loss      float64 `json:"loss"`         // of what was sent lately, 0 to 1
	Queued    int     `json:"queued_bytes"` // sent and not acknowledged by TCP
	Estimated float64 `json:"rate_bps"`     // what it is believed to carry
	Subflows  int     `json:"subflows"`
	Lossy     bool    `json:"lossy"`
	Dark      bool    `json:"dark"`
	Sent      uint64  `json:"sent_bytes"`
	Received  uint64  `json:"received_bytes"`
	KeepAlive float64 `json:"keep_alive_s,omitempty"` // how seldom the client asks on it at rest

	Usage *Usage `json:"usage,omitempty"` // at the client
}

// Usage is what a path has carried, both ways and with all headers that are known, and may
// carry.
type Usage struct {
	Today      uint64    `json:"today_bytes"`
	Month      uint64    `json:"month_bytes"`
	DailyCap   uint64    `json:"daily_cap_bytes,omitempty"`
	MonthlyCap uint64    `json:"monthly_cap_bytes,omitempty"`
	BillingDay int       `json:"billing_day,omitempty"`
	Renews     time.Time `json:"month_ends,omitzero"`
	Until      time.Time `json:"capped_until,omitzero"` // while a cap is reached
}

// Left returns what may still be carried until a cap is reached, and whether
// there is a cap.
func (u *Usage) Left() (uint64, bool) {
	if u == nil || u.DailyCap == 0 && u.MonthlyCap == 0 {
		return 0, false
	}
	left := ^uint64(0)
	for _, c := range [][2]uint64{{u.DailyCap, u.Today}, {u.MonthlyCap, u.Month}} {
		if c[0] > 0 {
			left = min(left, c[0]-min(c[0], c[1]))
		}
	}
	return left, true
}

// Low says that less than a tenth of a cap is left.
func (u *Usage) Low() bool {
	low := func(used, most uint64) bool { return most > 0 && used > most-most/10 }
	return u != nil && (low(u.Today, u.DailyCap) || low(u.Month, u.MonthlyCap))
}

// Subflow is one TCP connection of a path.
type Subflow struct {
	Path        string  `json:"path"`
	Slot        int     `json:"slot"`
	Local       string  `json:"local"`
	Remote      string  `json:"remote"`
	State       string  `json:"state"` // up, resting, suspect, stale, blocked
	Bulk        bool    `json:"bulk"`
	Congestion  string  `json:"congestion,omitempty"`
	Backup      bool    `json:"backup"`
	RTT         float64 `json:"rtt_ms"`
	RTTVar      float64 `json:"rttvar_ms"`
	Rate        float64 `json:"rate_bps"`
	Window      int     `json:"cwnd_bytes"`
	Outstanding int     `json:"outstanding_bytes"`
	Retransmits uint64  `json:"retransmits"` // of the segments with data
	Segments    uint64  `json:"segments"`    // with data, those that went again too
	Sent        uint64  `json:"sent_bytes"`
	Received    uint64  `json:"received_bytes"`
	Age         float64 `json:"age_seconds"`
}

// Program is one flow of an application: what it is, where it goes, and by what
// paths and why.
type Program struct {
	Session string   `json:"session"`
	Client  string   `json:"client,omitempty"` // at the server
	User    string   `json:"user,omitempty"`   // of SOCKS
	Name    string   `json:"program,omitempty"`
	App     string   `json:"app,omitempty"` // the application's address
	Proto   string   `json:"proto"`         // udp, tcp, icmp
	To      string   `json:"to"`            // the real destination; a name where one was asked for
	Class   string   `json:"class"`
	Why     string   `json:"why"`            // it is in the class, and uses these paths and not others
	Only    []string `json:"only,omitempty"` // the paths that it may use; none = all
	Paths   []string `json:"paths"`
	Came    []string `json:"received_paths,omitempty"` // what a CONNECT received lately came by these
	BPS     int64    `json:"bps"`                      // now, sent by this half
	RecvBPS int64    `json:"received_bps"`
	Bytes   uint64   `json:"bytes"`
	// Received is what came the other way. Of an association's datagrams all are
	// counted at its largest flow.
	Received uint64 `json:"received_bytes"`
	Packets  uint64 `json:"packets"`
	Copies   uint64 `json:"copies"`
	Dropped  uint64 `json:"dropped"`
	Queued   int    `json:"queued_bytes"`

	Key string `json:"key"` // of the flow inside the tunnel
}
