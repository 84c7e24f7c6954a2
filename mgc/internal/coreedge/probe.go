package coreedge

import (
	"context"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptransport"
)

// probePatience is how long the answer to a probe may take; shorter than the interval when that is shorter.
const probePatience = 5 * time.Second

// Ask sends a request to one target and calls done once, from any goroutine, with the status of the final answer, 0 for none.
type Ask func(req headers.Msg, to siptransport.Target, done func(status int)) error

// Probe makes the edge send OPTIONS to the targets of the next hop every Config.Probe. Call it before Start; without it, or with
// Config.Probe 0, none are sent.
func (e *Edge) Probe(ask Ask) { e.ask = ask }

// probe asks every target of the next hop again and again. A target that answers, by whatever but 503, is up: it leaves the
// blacklist at once. One that does not is listed before a call meets it.
func (e *Edge) probe() {
	tick := time.NewTicker(e.cfg.Probe)
	defer tick.Stop()
	for {
		for _, h := range e.nextHops() {
			e.running.Go(func() { e.probeHop(h) })
		}
		select {
		case <-e.ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (e *Edge) probeHop(h siptransport.Hop) {
	patience := probePatience
	if e.cfg.Probe > 0 {
		patience = min(patience, e.cfg.Probe)
	}
	ctx, cancel := context.WithTimeout(e.ctx, patience)
	defer cancel()
	answer := make(chan int, 1) // done is called once
	err := e.ask(e.options(h), siptransport.Target{Transport: h.Transport, Addr: h.Addr, Name: h.Name}, func(status int) { answer <- status })
	status := 0
	if err == nil {
		select {
		case status = <-answer:
		case <-ctx.Done():
		}
	}
	switch {
	case e.ctx.Err() != nil:
	case status == 0, status == 503:
		e.metrics.probes.WithLabelValues("failed").Inc()
		e.Failed(h, 0)
	default:
		e.metrics.probes.WithLabelValues("ok").Inc() // Reached has been called by the transaction layer
	}
}

// options makes the request: for the target itself, not for a user behind it (RFC 3261 §11.1).
func (e *Edge) options(h siptransport.Hop) headers.Msg {
	uri := "sip:" + headers.HostPort(h.Addr.Addr().String(), h.Addr.Port())
	from := "sip:" + e.names.home.String()
	m := headers.Msg{Method: "OPTIONS", RequestURI: uri}
	for _, f := range [][2]string{
		{"Max-Forwards", "70"}, {"From", "<" + from + ">;tag=" + siptransport.NewFlowID()}, {"To", "<" + uri + ">"},
		{"Call-ID", siptransport.NewFlowID()}, {"CSeq", "1 OPTIONS"}, {"Contact", "<" + from + ">"}, {"Accept", "application/sdp"},
	} {
		m.Add(f[0], f[1])
	}
	return m
}
