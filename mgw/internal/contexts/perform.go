package contexts

import (
	"errors"
	"net/netip"

	"github.com/isthmus-gateway/isthmus/mgw/internal/connmodel"
	"github.com/isthmus-gateway/isthmus/mgw/internal/flow"
	"github.com/isthmus-gateway/isthmus/mgw/internal/rtcp"
	"github.com/isthmus-gateway/isthmus/pkg/gwerr"
	"github.com/isthmus-gateway/isthmus/pkg/gwid"
)

// perform carries out one effect of the model on media (connmodel.Perform).
func (c *entry) perform(e connmodel.Effect) connmodel.Result {
	switch x := e.(type) {
	case connmodel.NewAccess:
		return c.newAccess(x)
	case connmodel.NewStream:
		return c.newStream(x)
	case connmodel.NewCore:
		return c.newCore(x)
	case connmodel.Configure:
		return c.with(x.Term, x.Stream, func(l *line) error { return l.media.Configure(settings(x.Settings)) })
	case connmodel.SetAccessRemote:
		return c.withLocal(x.Term, func(a Access) error { return a.SetRemote(accessRemote(x.Remote)) })
	case connmodel.RestartICE:
		return c.withLocal(x.Term, Access.RestartICE)
	case connmodel.GiveUpComponent2:
		return c.withLocal(x.Term, func(a Access) error { a.GiveUpComponent2(); return nil })
	case connmodel.SetCoreRemote:
		return c.with(x.Term, x.Stream, func(l *line) error { return l.setCoreRemote(x.Remote) })
	case connmodel.Play:
		return c.with(x.Term, x.Stream, func(l *line) error { return c.play(l, x.Signals) })
	case connmodel.Connect:
		return c.join(x.Access, x.Core, x.Stream, c.mgr.media.Connect)
	case connmodel.Disconnect:
		return c.join(x.Access, x.Core, x.Stream, c.mgr.media.Disconnect)
	case connmodel.Close:
		return c.closeStream(x)
	}
	return connmodel.Result{Err: connmodel.Errorf(connmodel.CodeInternal, "effect %T", e)}
}

// unavailable refuses a termination in a realm whose interface has failed (H.248.41).
func (c *entry) unavailable(realm string) *connmodel.Error {
	if why := c.mgr.cfg.Unavailable(realm); why != "" {
		c.mgr.cfg.Metrics.realmRefusals.Inc()
		return connmodel.Errorf(gwerr.TemporaryNetworkFailure, "realm %q is not available: %s", realm, why)
	}
	return nil
}

func (c *entry) newAccess(x connmodel.NewAccess) connmodel.Result {
	if err := c.unavailable(x.Realm); err != nil {
		return connmodel.Result{Err: err}
	}
	c.mgr.index(x.Term, c) // before the first event can come
	a, err := c.mgr.media.NewAccess(x, c.handles[x.Near].near())
	if err != nil {
		c.mgr.unindex(x.Term)
		return connmodel.Result{Err: mediaError(err)}
	}
	c.opened(x.Term, a, line{id: x.Stream, media: a})
	l := a.Local()
	return connmodel.Result{Local: accessLocal(l), Chosen: connmodel.Chosen{SSRC: l.SSRC, CName: l.CName}}
}

func (c *entry) newStream(x connmodel.NewStream) connmodel.Result {
	h := c.handles[x.Term]
	if h == nil || h.access == nil {
		return connmodel.Result{Err: noMedia(x.Term, x.Stream)}
	}
	s, chosen, err := c.mgr.media.NewStream(h.access, x)
	if err != nil {
		return connmodel.Result{Err: mediaError(err)}
	}
	c.opened(x.Term, h.access, line{id: x.Stream, media: s})
	return connmodel.Result{Chosen: chosen}
}

func (c *entry) newCore(x connmodel.NewCore) connmodel.Result {
	if err := c.unavailable(x.Realm); err != nil {
		return connmodel.Result{Err: err}
	}
	c.mgr.index(x.Term, c)
	core, err := c.mgr.media.NewCore(x, c.handles[x.Near].near())
	if err != nil {
		if c.handles[x.Term] == nil {
			c.mgr.unindex(x.Term)
		}
		return connmodel.Result{Err: mediaError(err)}
	}
	c.opened(x.Term, nil, line{id: x.Stream, media: core, core: core})
	l := core.Local()
	chosen := connmodel.Chosen{RTP: l.RTP, RTCP: l.RTCP, SSRC: l.SSRC, CName: l.CName, Keys: make(map[string]connmodel.Secret)}
	for _, k := range l.Keys {
		chosen.Keys[k.Suite] = connmodel.Secret(k.Key)
	}
	return connmodel.Result{Chosen: chosen}
}

// with does something to a stream's media.
func (c *entry) with(id gwid.TerminationID, stream gwid.StreamID, do func(*line) error) connmodel.Result {
	l := c.handles[id].stream(stream)
	if l == nil {
		return connmodel.Result{Err: noMedia(id, stream)}
	}
	if err := do(l); err != nil {
		return connmodel.Result{Err: mediaError(err)}
	}
	return connmodel.Result{}
}

// withLocal does something to an access termination that may change its local credentials.
func (c *entry) withLocal(id gwid.TerminationID, do func(Access) error) connmodel.Result {
	h := c.handles[id]
	if h == nil || h.access == nil {
		return connmodel.Result{Err: noMedia(id, 0)}
	}
	if err := do(h.access); err != nil {
		return connmodel.Result{Err: mediaError(err)}
	}
	return connmodel.Result{Local: accessLocal(h.access.Local())}
}

func (c *entry) join(a, co gwid.TerminationID, stream gwid.StreamID, do func(Stream, Core) error) connmodel.Result {
	la, lc := c.handles[a].stream(stream), c.handles[co].stream(stream)
	if la == nil || lc == nil || la.core != nil || lc.core == nil {
		return connmodel.Result{Err: noMedia(a+","+co, stream)}
	}
	if err := do(la.media, lc.core); err != nil {
		return connmodel.Result{Err: mediaError(err)}
	}
	return connmodel.Result{}
}

func noMedia(id gwid.TerminationID, stream gwid.StreamID) *connmodel.Error {
	return connmodel.Errorf(connmodel.CodeInternal, "no media for %s, stream %d", id, stream)
}

// mediaError gives an error of the packet path its code of H.248.8.
func mediaError(err error) *connmodel.Error {
	code := connmodel.CodeInternal
	for _, m := range []struct {
		is   error
		code gwerr.Code
	}{
		{flow.ErrPortsExhausted, gwerr.InsufficientResources},
		{flow.ErrUnknownRealm, gwerr.UnsupportedValue},
		{flow.ErrNoComponent, gwerr.UnsupportedValue},
		{flow.ErrBadRemote, gwerr.UnsupportedValue},
		{flow.ErrBadSettings, gwerr.UnsupportedValue},
		{flow.ErrUnsupported, gwerr.UnsupportedValue},
		{flow.ErrComponent2, gwerr.UnsupportedValue},
		{flow.ErrTooManyStreams, gwerr.InsufficientResources},
		{flow.ErrNoCodec, gwerr.CannotSignal},
		{flow.ErrCannotDetect, gwerr.CannotDetect},
		{flow.ErrBusy, gwerr.InsufficientResources},
		{errGone, gwerr.NoAnnouncement},
		{flow.ErrClosed, gwerr.ServiceUnavailable},
	} {
		if errors.Is(err, m.is) {
			code = m.code
			break
		}
	}
	return connmodel.Errorf(code, "%s", err.Error())
}

// settings is the model's settings in the terms of the packet path.
func settings(s connmodel.Settings) flow.Settings {
	out := flow.Settings{
		Mode: map[connmodel.Mode]flow.Mode{
			connmodel.ModeInactive: flow.Inactive, connmodel.ModeSendOnly: flow.SendOnly,
			connmodel.ModeRecvOnly: flow.RecvOnly, connmodel.ModeSendRecv: flow.SendRecv,
		}[s.Mode],
		Recv: s.Recv, Send: s.Send, SendDTMF: s.SendDTMF, SendCN: s.SendCN, Ptime: flow.Ptime(s.Ptime), MaxPtime: s.MaxPtime, MaxBitrate: int(min(s.MaxBitrate, 1<<30)), DSCP: int(s.DSCP), RTCPOff: s.RTCPOff, RTCPShare: rtcp.Bandwidth{Senders: s.Senders, Receivers: s.Receivers},
		XRMetrics: s.XRMetrics, XRReference: s.XRReference, DTX: s.DTX, QualityLimit: float64(s.QualityLimit) / 100, QualityEvery: s.QualityEvery,
		DropDigits: s.DropDigits, DetectTones: s.DetectTones,
		WatchIn: s.WatchIn, WatchOut: s.WatchOut, RTCPIsMedia: s.RTCPIsMedia,
		InactiveAfter: s.InactiveAfter, ConsentAfter: s.ConsentAfter, Armed: armed(s.Armed),
		MID: s.MID, MIDExt: s.MIDExt, Source: s.Source,
	}
	if s.Policing != (connmodel.Policing{}) {
		out.Police = &flow.Policing{BytesPerSecond: s.Policing.BytesPerSecond, BurstBytes: s.Policing.BurstBytes}
	}
	return out
}

func accessRemote(r connmodel.AccessRemote) flow.AccessRemote {
	out := flow.AccessRemote{Ufrag: r.Ufrag, Pwd: r.Pwd, Controlling: r.Controlling, Mux: r.Mux, TLSID: r.TLSID}
	switch r.Role {
	case connmodel.RoleClient:
		out.Role = flow.RoleClient
	case connmodel.RoleServer:
		out.Role = flow.RoleServer
	}
	for _, c := range r.Candidates {
		out.Candidates = append(out.Candidates, flow.Candidate{
			Foundation: c.Foundation, Component: uint32(c.Component), Transport: c.Transport, Priority: c.Priority,
			Address: c.Addr.Addr().String(), Port: c.Addr.Port(), Type: c.Type,
		})
	}
	for _, f := range r.Fingerprints {
		out.Fingerprints = append(out.Fingerprints, flow.Fingerprint{Hash: f.Hash, Value: f.Value})
	}
	return out
}

func accessLocal(l flow.AccessLocal) connmodel.Local {
	out := connmodel.Local{Ufrag: l.Ufrag, Pwd: l.Pwd}
	for _, c := range l.Candidates {
		addr, err := netip.ParseAddr(c.Address)
		if err != nil {
			continue // a host candidate of ours is always a literal
		}
		out.Candidates = append(out.Candidates, connmodel.Candidate{
			Foundation: c.Foundation, Component: uint8(c.Component), Transport: c.Transport, Priority: c.Priority,
			Addr: netip.AddrPortFrom(addr, c.Port), Type: c.Type, TCPType: c.TCPType,
		})
	}
	for _, f := range l.Fingerprints {
		out.Fingerprints = append(out.Fingerprints, connmodel.Fingerprint{Hash: f.Hash, Value: f.Value})
	}
	return out
}
