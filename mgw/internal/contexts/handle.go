package contexts

import (
	"errors"
	"slices"

	"github.com/isthmus-gateway/isthmus/mgw/internal/connmodel"
	"github.com/isthmus-gateway/isthmus/mgw/internal/flow"
	"github.com/isthmus-gateway/isthmus/pkg/gwid"
)

// handle is the media of one termination.
type handle struct {
	access  Access // nil: a core termination
	streams []line // in order of opening
}

// line is the media of one stream.
type line struct {
	id    gwid.StreamID
	media Stream
	core  Core   // media of a core termination, else nil
	latch uint32 // Generation of the remote last told
}

// stream finds one by number; nil when there is none.
func (h *handle) stream(id gwid.StreamID) *line {
	if h == nil {
		return nil
	}
	i := slices.IndexFunc(h.streams, func(l line) bool { return l.id == id })
	if i < 0 {
		return nil
	}
	return &h.streams[i]
}

// near is what another termination is opened near of; nil: nothing.
func (h *handle) near() Stream {
	if h == nil {
		return nil
	}
	return h.streams[0].media
}

// opened notes a stream of a termination, which need not be known yet.
func (c *entry) opened(id gwid.TerminationID, a Access, l line) {
	h := c.handles[id]
	if h == nil {
		h = &handle{access: a}
		c.handles[id] = h
	}
	h.streams = append(h.streams, l)
}

// closeStream ends a stream, and the termination with its last one.
func (c *entry) closeStream(x connmodel.Close) connmodel.Result {
	h := c.handles[x.Term]
	l := h.stream(x.Stream)
	if l == nil {
		return connmodel.Result{Err: noMedia(x.Term, x.Stream)}
	}
	final, side := l.media.Close(), "access"
	if l.core != nil {
		side = "core"
	}
	c.mgr.cfg.Metrics.ended.take(side, &final)
	stats := statistics(x.Term, x.Stream, final)
	h.streams = slices.DeleteFunc(h.streams, func(o line) bool { return o.id == x.Stream })
	if len(h.streams) == 0 {
		delete(c.handles, x.Term)
		c.mgr.unindex(x.Term)
	}
	return connmodel.Result{Statistics: stats}
}

// setCoreRemote tells the peer of a stream of a core termination.
func (l *line) setCoreRemote(r connmodel.CoreRemote) error {
	if l.core == nil {
		return errors.New("not a core termination")
	}
	remote := flow.CoreRemote{RTP: r.RTP, RTCP: r.RTCP, Mux: r.Mux, Filter: r.Filter.Prefixes, FilterPorts: r.Filter.Ports, Secure: r.Secure}
	if r.Crypto.Suite != "" {
		remote.Crypto = flow.Crypto{Suite: r.Crypto.Suite, Key: []byte(r.Crypto.Key), MKI: []byte(r.Crypto.MKI)}
	}
	switch {
	case r.Latch == connmodel.LatchOff:
		remote.Latch = flow.LatchOff
	case r.Generation != l.latch:
		remote.Latch = flow.Relatch
	default:
		remote.Latch = flow.LatchOn
	}
	if err := l.core.SetRemote(remote); err != nil {
		return err
	}
	l.latch = r.Generation
	return nil
}
