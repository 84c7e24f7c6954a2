package ua

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/emiago/sipgo/sip"

	"github.com/isthmus-gateway/isthmus/integration/internal/ua/sipnode"
)

// Registration is what a registrar granted.
type Registration struct {
	Expires        time.Duration // of our Contact; 0 after de-registration
	ServiceRoute   []string      // RFC 3608, URIs in order
	AssociatedURIs []string      // P-Associated-URI (RFC 7315 §4.1)
	Response       *sip.Response // the whole answer
}

// Register binds our Contact for expires (whole seconds; 0 removes it) and returns what was granted.
// A refusal is a *StatusError, e.g. 401 for a wrong password, 423 for too short a time.
func (a *Agent) Register(ctx context.Context, expires time.Duration, extra ...sip.Header) (*Registration, error) {
	req := a.newRequest(sip.REGISTER, sip.Uri{Scheme: "sip", Host: a.cfg.Domain}, sipnode.NewTag(), a.regCallID, a.nextRegCSeq())
	req.To().Address = *req.From().Address.Clone()
	req.AppendHeader(a.contact(a.cfg.User))
	req.AppendHeader(sip.NewHeader("Expires", strconv.Itoa(int(expires/time.Second))))
	req.AppendHeader(sip.NewHeader("Supported", "path"))
	for _, h := range extra {
		req.AppendHeader(h)
	}
	res, err := a.roundTrip(ctx, req, a.nextRegCSeq)
	if err != nil {
		return nil, fmt.Errorf("ua: register %s: %w", a.AOR(), err)
	}
	if res.StatusCode >= 300 {
		return nil, &StatusError{res.StatusCode, res.Reason, res}
	}
	reg := &Registration{Response: res, Expires: a.granted(res)}
	reg.ServiceRoute = sipnode.URIs(res, "Service-Route")
	reg.AssociatedURIs = sipnode.URIs(res, "P-Associated-URI")
	var route []sip.Uri
	for _, s := range reg.ServiceRoute {
		var u sip.Uri
		if sip.ParseUri(s, &u) == nil {
			route = append(route, u)
		}
	}
	if expires == 0 {
		route = nil
	}
	a.mu.Lock()
	a.serviceRoute = route
	a.mu.Unlock()
	return reg, nil
}

func (a *Agent) nextRegCSeq() uint32 {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.regCSeq++
	return a.regCSeq
}

// granted finds the expiry of our own Contact among those listed (RFC 3261 §10.2.4).
func (a *Agent) granted(res *sip.Response) time.Duration {
	ours := a.contact(a.cfg.User).Address
	for _, h := range res.GetHeaders("Contact") {
		c, ok := h.(*sip.ContactHeader)
		if !ok || c.Address.User != ours.User || c.Address.Host != ours.Host || c.Address.Port != ours.Port {
			continue
		}
		if v, ok := c.Params.Get("expires"); ok {
			n, _ := strconv.Atoi(v)
			return time.Duration(n) * time.Second
		}
		if h := res.GetHeader("Expires"); h != nil {
			n, _ := strconv.Atoi(h.Value())
			return time.Duration(n) * time.Second
		}
	}
	return 0
}
