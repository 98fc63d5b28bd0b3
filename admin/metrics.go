package admin

import (
	"net/http"
	"runtime"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/mpsocks/mpsocks/status"
)

// metrics serves the status for Prometheus. The collector makes the series at scrape
// time from the model, so that nothing on the data path knows of metrics. Labels are
// what the configuration names: paths and clients, and reasons that the code names; so
// a half that reconnects a thousand times has as many series as before.
func metrics(r *recorder) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collector{r},
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		// A client's name or a path's that is no label is an error of that series
		// alone.
		ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: 4, Timeout: 10 * time.Second,
	})
}

// A metric is one family: its name, help and labels, and whether it counts.
type metric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

func counter(name, help string, labels ...string) metric {
	return metric{prometheus.NewDesc("mpsocks_"+name, help, labels, nil), prometheus.CounterValue}
}

func gauge(name, help string, labels ...string) metric {
	return metric{prometheus.NewDesc("mpsocks_"+name, help, labels, nil), prometheus.GaugeValue}
}

// The families of both halves.
var (
	buildInfo    = gauge("build_info", "What runs: always 1.", "version", "goversion", "half")
	ready        = gauge("ready", "1 if the half can do its work now, as /readyz says, else 0.")
	startTime    = gauge("start_time_seconds", "When the half began, in seconds since 1970.")
	sessionsNow  = gauge("sessions", "Sessions that have a subflow.")
	renewals     = counter("session_renewals_total", "Sessions that were begun anew because the old one was lost.")
	subflowsNow  = gauge("subflows", "TCP connections of the tunnel.")
	flowsNow     = gauge("flows", "Flows that the sessions know.")
	sentBytes    = counter("sent_bytes_total", "Bytes of packets that this half put into the tunnel, each once.")
	copiedBytes  = counter("copied_bytes_total", "Bytes of packets that it sent a second time, on another subflow, to dodge loss.")
	reinjected   = counter("reinjected_packets_total", "Packets that a dead or stalled subflow held and another one sent again.")
	received     = counter("received_bytes_total", "Bytes of packets that came out of the tunnel, each once.")
	repeats      = counter("received_repeats_total", "Packets that came again and were left out.")
	resequenced  = counter("resequenced_packets_total", "Packets that were held for a moment to restore a flow's order.")
	expired      = counter("resequencing_expired_total", "Packets that were delivered out of order because the missing one took too long.")
	queueBytes   = gauge("queue_bytes", "Bytes that wait for a subflow.")
	flightBytes  = gauge("in_flight_bytes", "Bytes that the other half has not acknowledged.")
	queueDrops   = counter("queue_dropped_packets_total", "Packets that were dropped before the tunnel, by reason.", "reason")
	datagrams    = counter("datagrams_total", "Datagrams between the tunnel and applications (client) or the internet (server); up is towards the internet.", "direction")
	drops        = counter("dropped_datagrams_total", "Datagrams that went no further, by reason.", "reason")
	refused      = counter("refused_total", "Connections, requests and handshakes that were refused, by reason.", "reason")
	streamsNow   = gauge("streams", "CONNECTs that are open.")
	queriesNow   = gauge("name_queries", "Names that are being asked for.")
	eventsLogged = gauge("events", "Events of the last hour, by level.", "level")
)

// The client's families.
var (
	associations = gauge("associations", "UDP associations that are open.")
	pending      = gauge("pending_connections", "Connections of applications in their handshake.")
	namesNow     = gauge("names", "Names that are remembered.")
	streamBytes  = counter("stream_bytes_total", "Bytes of CONNECTs that have ended; up is towards the internet.", "direction")
	pathUp       = gauge("path_up", "1 if the path works, also at rest, else 0.", "path")
	pathState    = gauge("path_state", "1 for the state that the path is in.", "path", "state")
	pathSubflows = gauge("path_subflows", "TCP connections of the path.", "path")
	pathSent     = counter("path_sent_bytes_total", "Bytes of packets that the client sent by the path.", "path")
	pathReceived = counter("path_received_bytes_total", "Bytes of packets that came by the path.", "path")
	pathRTT      = gauge("path_rtt_seconds", "Round trip of the path's best subflow.", "path")
	pathJitter   = gauge("path_jitter_seconds", "How much that varies.", "path")
	pathLoss     = gauge("path_loss_ratio", "Share of segments that TCP had to send again in the last ten seconds, 0 to 1.", "path")
	pathQueue    = gauge("path_queue_bytes", "Bytes sent by the path that TCP has not acknowledged.", "path")
	pathUsage    = gauge("path_usage_bytes", "Bytes that the path has carried, both ways and with TLS, in the period under way.", "path", "period")
	pathCap      = gauge("path_cap_bytes", "Most bytes that the path may carry in the period.", "path", "period")
	pathCapLeft  = gauge("path_cap_left_bytes", "What is left of that.", "path", "period")
)

// The server's families.
var (
	mappingsNow    = gauge("mappings", "UDP mappings that are open.")
	connects       = counter("connects_total", "CONNECTs by what became of them.", "result")
	gateNow        = gauge("gate_connections", "Connections that have not proved a key yet.")
	gateClosed     = counter("gate_closed_total", "Connections that were closed before they had proved a key: turned away unread, refused for want of room, or sent away to make room.", "reason")
	memoryHeld     = gauge("memory_held_bytes", "Buffers that all sessions hold, with what the kernel has for them.")
	memoryLimit    = gauge("memory_limit_bytes", "Most that they may hold, limits.memory.")
	memoryCuts     = counter("memory_cuts_total", "Sessions and streams that were ended because they held too much.", "what")
	socketErrors   = counter("socket_errors_total", "ICMP errors at the mappings' sockets; none of them ends a mapping.")
	clientSessions = gauge("client_sessions", "Sessions of the client.", "client")
	clientMappings = gauge("client_mappings", "UDP mappings of the client.", "client")
	clientStreams  = gauge("client_streams", "CONNECTs of the client.", "client")
	clientSent     = counter("client_sent_bytes_total", "Bytes of packets that were sent to the client.", "client")
	clientReceived = counter("client_received_bytes_total", "Bytes of packets that came from the client.", "client")
	clientQuota    = gauge("client_quota_bytes", "Most bytes a month that the client may move, where it has a quota.", "client")
	clientUsed     = gauge("client_quota_used_bytes", "What of that is gone.", "client")
)

// newTrips counts the paths' round trips, once a second.
func newTrips() *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "mpsocks_path_round_trip_seconds", Help: "Round trips of the path's best subflow, taken once a second while the path works.",
		// From a neighbour's millisecond to a queue of seconds.
		Buckets: []float64{.001, .0025, .005, .01, .02, .03, .05, .075, .1, .15, .25, .5, 1, 2.5},
	}, []string{"path"})
}

// collector makes metrics of the newest look.
type collector struct{ r *recorder }

// Describe sends nothing: which paths and clients there are depends on the
// configuration, and Prometheus calls such a collector unchecked.
func (c collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	s := c.r.status()
	e := emitter{out}
	e.emit(buildInfo, 1, s.Version, runtime.Version(), s.Half)
	e.emit(ready, truth(s.Ready))
	e.emit(startTime, float64(s.Started.UnixMilli())/1e3)
	e.sessions(s)
	for reason, n := range s.Drops {
		e.emit(drops, float64(n), reason)
	}
	for reason, n := range s.Refused {
		e.emit(refused, float64(n), reason)
	}
	e.emit(datagrams, float64(s.DatagramsUp), "up")
	e.emit(datagrams, float64(s.DatagramsDown), "down")
	e.emit(streamsNow, float64(s.Streams))
	e.emit(queriesNow, float64(s.Queries))
	levels := map[string]int{"info": 0, "warn": 0, "error": 0}
	for _, v := range s.Events {
		levels[v.Level]++
	}
	for level, n := range levels {
		e.emit(eventsLogged, float64(n), level)
	}
	if s.Half == status.Server {
		e.server(s)
		return
	}
	e.client(s)
	c.r.trips.Collect(out)
}

// emitter sends metrics.
type emitter struct{ out chan<- prometheus.Metric }

func (e emitter) emit(m metric, v float64, labels ...string) {
	for i := range labels {
		labels[i] = strings.ToValidUTF8(labels[i], "?")
	}
	e.out <- prometheus.MustNewConstMetric(m.desc, m.kind, v, labels...)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// sessions adds up what all sessions say.
func (e emitter) sessions(s *status.Status) {
	var sum status.Session
	up, subflows := 0, 0
	var counts status.Counts
	for _, v := range s.All() {
		if v.Up {
			up++
		}
		subflows += len(v.Subflows)
		counts.Add(&status.Counts{
			Renewals: v.Renewals, Copied: v.Copied, Reinjected: v.Reinjected, Repeats: v.Repeats, Restored: v.Restored, Expired: v.Expired, Drops: v.Drops,
		})
		sum.Flows += v.Flows
		sum.Queued += v.Queued
		sum.InFlight += v.InFlight
		sum.Sent += v.Sent
		sum.Received += v.Received
	}
	if s.Half == status.Server {
		// Those of sessions that have ended count too: a counter does not fall.
		if counts = (status.Counts{}); s.Counts != nil {
			counts.Add(s.Counts)
		}
		sum.Sent, sum.Received = s.RevokedSent, s.RevokedReceived
		for _, c := range s.Clients {
			sum.Sent += c.Sent
			sum.Received += c.Received
		}
	}
	for _, v := range []struct {
		m metric
		v float64
	}{
		{sessionsNow, float64(up)},
		{subflowsNow, float64(subflows)},
		{renewals, float64(counts.Renewals)},
		{flowsNow, float64(sum.Flows)},
		{sentBytes, float64(sum.Sent)},
		{copiedBytes, float64(counts.Copied)},
		{reinjected, float64(counts.Reinjected)},
		{received, float64(sum.Received)},
		{repeats, float64(counts.Repeats)},
		{resequenced, float64(counts.Restored)},
		{expired, float64(counts.Expired)},
		{queueBytes, float64(sum.Queued)},
		{flightBytes, float64(sum.InFlight)},
	} {
		e.emit(v.m, v.v)
	}
	for k, n := range counts.Drops {
		e.emit(queueDrops, float64(n), k)
	}
}

func (e emitter) client(s *status.Status) {
	e.emit(associations, float64(s.Associations))
	e.emit(pending, float64(s.Pending))
	e.emit(namesNow, float64(s.Names))
	e.emit(streamBytes, float64(s.StreamUp), "up")
	e.emit(streamBytes, float64(s.StreamDown), "down")
	if s.Session == nil {
		return
	}
	for i := range s.Session.Paths {
		p := &s.Session.Paths[i]
		e.emit(pathUp, truth(p.State == status.Up || p.State == status.Resting), p.Name)
		for _, state := range []status.State{
			status.Up, status.Resting, status.Stalled, status.Dead, status.Joining, status.Capped, status.Paused, status.Absent,
		} {
			e.emit(pathState, truth(p.State == state), p.Name, string(state))
		}
		e.emit(pathSubflows, float64(p.Subflows), p.Name)
		e.emit(pathSent, float64(p.Sent), p.Name)
		e.emit(pathReceived, float64(p.Received), p.Name)
		e.emit(pathRTT, p.RTT, p.Name)
		e.emit(pathJitter, p.Jitter, p.Name)
		e.emit(pathLoss, p.Loss, p.Name)
		e.emit(pathQueue, float64(p.Queued), p.Name)
		if p.Usage == nil {
			continue
		}
		for _, u := range []struct {
			period    string
			used, cap uint64
		}{{"day", p.Usage.Today, p.Usage.DailyCap}, {"month", p.Usage.Month, p.Usage.MonthlyCap}} {
			e.emit(pathUsage, float64(u.used), p.Name, u.period)
			if u.cap > 0 {
				e.emit(pathCap, float64(u.cap), p.Name, u.period)
				e.emit(pathCapLeft, float64(u.cap-min(u.cap, u.used)), p.Name, u.period)
			}
		}
	}
}

func (e emitter) server(s *status.Status) {
	e.emit(mappingsNow, float64(s.Mappings))
	e.emit(socketErrors, float64(s.SocketErrors))
	if g := s.Gate; g != nil {
		e.emit(gateNow, float64(g.Waiting))
		e.emit(gateClosed, float64(g.Turned), "turned")
		e.emit(gateClosed, float64(g.Refused), "refused")
		e.emit(gateClosed, float64(g.Sent), "sent")
	}
	if m := s.Memory; m != nil {
		e.emit(memoryHeld, float64(m.Held))
		e.emit(memoryLimit, float64(m.Limit))
		e.emit(memoryCuts, float64(m.Cut), "session")
		e.emit(memoryCuts, float64(m.Streams), "stream")
	}
	for result, n := range s.Connects {
		e.emit(connects, float64(n), result)
	}
	for i := range s.Clients {
		c := &s.Clients[i]
		e.emit(clientSessions, float64(c.Sessions), c.Name)
		e.emit(clientMappings, float64(c.Mappings), c.Name)
		e.emit(clientStreams, float64(c.Streams), c.Name)
		e.emit(clientSent, float64(c.Sent), c.Name)
		e.emit(clientReceived, float64(c.Received), c.Name)
		if c.Quota > 0 {
			e.emit(clientQuota, float64(c.Quota), c.Name)
			e.emit(clientUsed, float64(c.Used), c.Name)
		}
	}
}
