package ims

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/isthmus-gateway/isthmus/integration/internal/peers/netns"
	adminv1 "github.com/isthmus-gateway/isthmus/proto/admin/v1"
)

// webRTC are words that belong to a browser's description and mean nothing, or harm, in a SIP core.
var webRTC = []string{
	"SAVPF", "UDP/TLS", "fingerprint", "ice-ufrag", "ice-pwd", "ice-options", "candidate", "a=setup", "a=group", "a=mid", "a=msid",
	"a=extmap", "rtcp-mux", "bundle", "opus", "a=ssrc", "rtcp-fb", "tls-id",
}

// border looks at every description that the gateway gave Kamailio. What browsers got is looked at by each scenario as it ends.
func (w *world) border(t *testing.T) {
	all, err := w.core.Tap().Messages()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, m := range all {
		if m.From.Addr().String() != netns.Here || m.Header("Content-Type") != "application/sdp" {
			continue
		}
		seen++
		for _, word := range webRTC {
			if strings.Contains(strings.ToLower(m.Body()), strings.ToLower(word)) {
				t.Errorf("%s: %q in\n%s", m.StartLine(), word, m.Body())
			}
		}
		if !strings.Contains(m.Body(), " RTP/AVP ") {
			t.Errorf("%s: no RTP/AVP in\n%s", m.StartLine(), m.Body())
		}
	}
	if seen == 0 {
		t.Error("no description of the gateway was seen")
	}
}

// coreOnly are words that are the core's own business: no browser is to see them.
var coreOnly = []string{
	"a=curr", "a=des:", "a=conf", "precondition", "100rel", "P-Charging-", "P-Early-Media", "P-Visited-Network-ID", "Service-Route", "Record-Route", "RTP/AVP ", "icid-value",
}

// browserIsPlain looks at everything that the gateway told the browser.
func (p *party) browserIsPlain() {
	p.t.Helper()
	all, err := p.alice.Ladder(p.ctx)
	p.ok(err)
	for _, e := range all {
		if e.Direction != "in" {
			continue
		}
		for _, word := range coreOnly {
			if strings.Contains(e.Text, word) {
				p.t.Errorf("%q reached the browser:\n%s", word, e.Text)
			}
		}
	}
}

// nothingLeft checks that the gateway holds no call, registration, context or port once all users have gone, and that the core saw
// every dialog end.
func (w *world) nothingLeft(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	p := &party{world: w, t: t, ctx: ctx}
	p.until("the MGW to hold no context and no port", func() (bool, any) {
		r, err := w.mgw.Resources(p.ctx, &adminv1.ResourcesRequest{})
		return err == nil && r.Contexts+r.Terminations+r.PortPairs == 0, fmt.Sprint(r, err)
	})
	p.until("the MGC to hold no call", func() (bool, any) {
		r, err := w.mgc.ListCalls(p.ctx, &adminv1.ListCallsRequest{})
		return err == nil && len(r.Calls) == 0, fmt.Sprint(r, err)
	})
	p.until("the MGC to hold no registration", func() (bool, any) {
		r, err := w.mgc.ListRegistrations(p.ctx, &adminv1.ListRegistrationsRequest{})
		return err == nil && len(r.Registrations) == 0, fmt.Sprint(r, err)
	})
	p.until("the core to hold no dialog", func() (bool, any) {
		n, err := w.core.Dialogs(ctx)
		return err == nil && n == 0, fmt.Sprint(n, err)
	})
	if err := w.browser.Errors(); err != nil {
		t.Error(err)
	}
}
