package cdr

import "github.com/prometheus/client_golang/prometheus"

// Metrics counts call data records. Make it once per process.
type Metrics struct {
	written    *prometheus.CounterVec // type
	dropped    *prometheus.CounterVec // type
	duplicates prometheus.Counter
	failures   prometheus.Counter
	bytes      prometheus.Counter
	files      prometheus.Counter
	removed    prometheus.Counter
	torn       *prometheus.CounterVec // outcome
	damaged    prometheus.Counter
	waiting    prometheus.Gauge
	seconds    prometheus.Histogram
}

// NewMetrics registers the metrics with r.
func NewMetrics(r prometheus.Registerer) *Metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "isthmus_mgc_cdr_" + name, Help: help})
	}
	vector := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "isthmus_mgc_cdr_" + name, Help: help}, []string{label})
	}
	m := &Metrics{
		written:    vector("written_total", "Records kept, by type.", "type"),
		dropped:    vector("dropped_total", "Records lost because the queue was full or the writer closed, by type.", "type"),
		duplicates: counter("duplicates_total", "Records left out because they were written before."),
		failures:   counter("write_failures_total", "Writes that failed and are tried again."),
		bytes:      counter("written_bytes_total", "Bytes of records kept."),
		files:      counter("files_closed_total", "Files closed and renamed."),
		removed:    counter("files_removed_total", "Closed files removed because there were more than are kept."),
		torn:       vector("torn_lines_total", "Torn last lines found at the start, by what became of them (completed, moved).", "outcome"),
		damaged:    counter("damaged_lines_total", "Unreadable lines found at the start and left where they are."),
		waiting:    prometheus.NewGauge(prometheus.GaugeOpts{Name: "isthmus_mgc_cdr_waiting", Help: "Records that are not kept yet."}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "isthmus_mgc_cdr_write_seconds", Help: "Time of one write with its sync.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 4, 10)}),
	}
	r.MustRegister(m.written, m.dropped, m.duplicates, m.failures, m.bytes, m.files, m.removed, m.torn, m.damaged, m.waiting, m.seconds)
	return m
}
