package admin

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// snapshotCollector makes a metric of every number in a snapshot, at scrape
// time, so that nothing on the data path knows of metrics:
//
//	{"paths": [{"name": "dsl", "bytes_sent": 7}]}  ->  mpsocks_paths_bytes_sent{path="dsl"} 7
//
// The elements of a list are told apart by a label, named after the list: the
// element's name or id, or its index. Truth values count 0 and 1.
type snapshotCollector struct{ snapshot func() any }

// Describe sends nothing: which metrics there are depends on the snapshot, and
// Prometheus calls such a collector unchecked.
func (c snapshotCollector) Describe(chan<- *prometheus.Desc) {}

// Collect walks the snapshot in its JSON form, which is what its tags describe.
func (c snapshotCollector) Collect(out chan<- prometheus.Metric) {
	body, err := json.Marshal(c.snapshot())
	if err != nil {
		out <- prometheus.NewInvalidMetric(prometheus.NewInvalidDesc(err), err)
		return
	}
	var tree any
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	if err := decoder.Decode(&tree); err != nil {
		out <- prometheus.NewInvalidMetric(prometheus.NewInvalidDesc(err), err)
		return
	}
	walkMetrics("mpsocks", tree, nil, nil, out)
}

func walkMetrics(name string, node any, labels, values []string, out chan<- prometheus.Metric) {
	switch n := node.(type) {
	case map[string]any:
		for key, child := range n {
			// A name is no measure, and flows come and go by the hour: each
			// would leave a series behind. /status has them.
			if key == "id" || key == "slot" || key == "flows" {
				continue
			}
			walkMetrics(name+"_"+metricName(key), child, labels, values, out)
		}
	case []any:
		label := strings.TrimSuffix(name[strings.LastIndexByte(name, '_')+1:], "s")
		for i := 0; slices.Contains(labels, label); i++ { // a list in a list of the same name
			label += strconv.Itoa(i)
		}
		seen := map[string]bool{}
		for i, child := range n {
			value := elementName(child, i)
			if seen[value] {
				value += "#" + strconv.Itoa(i)
			}
			seen[value] = true
			// Fresh slices: siblings must not write into each other's.
			walkMetrics(name, child, append(labels[:len(labels):len(labels)], label),
				append(values[:len(values):len(values)], value), out)
		}
	case json.Number:
		if v, err := n.Float64(); err == nil {
			emit(name, v, labels, values, out)
		}
	case bool:
		v := 0.0
		if n {
			v = 1
		}
		emit(name, v, labels, values, out)
	}
}

func emit(name string, v float64, labels, values []string, out chan<- prometheus.Metric) {
	help := strings.ReplaceAll(strings.TrimPrefix(name, "mpsocks_"), "_", " ") + ", as /status has it"
	out <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, labels, nil), prometheus.UntypedValue, v, values...)
}

// elementName is what a list's element calls itself, or its index. A subflow
// goes by its path and its local address.
func elementName(element any, i int) string {
	m, _ := element.(map[string]any)
	for _, key := range []string{"name", "id", "path"} {
		switch v := m[key].(type) {
		case string:
			if local, ok := m["local"].(string); ok {
				v += " " + local
			}
			if v != "" {
				return strings.ToValidUTF8(v, "?")
			}
		case json.Number:
			return v.String()
		}
	}
	return strconv.Itoa(i)
}

// metricName keeps what Prometheus allows in a name.
func metricName(key string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9', r == '_':
			return r
		case 'A' <= r && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '_'
	}, key)
}
