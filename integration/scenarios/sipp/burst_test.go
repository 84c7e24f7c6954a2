package sipp

import (
	"strings"
	"testing"
	"time"

	peer "github.com/isthmus-gateway/isthmus/integration/internal/peers/sipp"
	"github.com/isthmus-gateway/isthmus/integration/internal/scenario"
	"github.com/isthmus-gateway/isthmus/integration/internal/webua"
)

// TestBurst places 50 calls at 20 a second in both directions at once, over each transport. None may fail, and none may leave
// anything behind.
func TestBurst(t *testing.T) {
	const calls = 50
	for _, transport := range []string{"udp", "tcp"} {
		t.Run(transport, func(t *testing.T) {
			ended := func(cause string) float64 { return metric(t, `isthmus_mgc_calls_ended_total{cause="`+cause+`"}`) }
			access, core := ended("hangup_access"), ended("hangup_core")
			dropped := metric(t, "isthmus_mgc_call_events_dropped_total")
			ctx := scenario.Within(t, 60*time.Second)
			// The calls are shared out among browsers, to stay below the bound on one registration's calls. sipp learns of the
			// called ones from the registrar.
			var callers []*browser
			var called []string
			at := local(t)
			for range 5 {
				callers = append(callers, newBrowser(t, transport, at, nil))
				called = append(called, newBrowser(t, transport, nowhere, answerAll).injection())
			}
			from := startSipp(t, "uac_call", injected.with("Hold", 300), peer.Config{
				Transport: transport, Local: local(t), Remote: world.core, Calls: calls, Rate: 20, Timeout: 50 * time.Second, Inject: called,
			})
			to := startSipp(t, "uas_plain", params{"User": "callee"}, peer.Config{Transport: transport, Local: at, Calls: calls, Timeout: 50 * time.Second})
			placeCalls(ctx, t, callers, calls, func(c *webua.Call) error { return c.Hangup(ctx) })
			from.done(ctx)
			to.done(ctx)
			if err := until(held); err != nil {
				t.Error(err)
			}
			if a, c := ended("hangup_access")-access, ended("hangup_core")-core; a != calls || c != calls {
				t.Errorf("%v calls were hung up by the browser and %v by the core, want %d each", a, c, calls)
			}
			if n := metric(t, "isthmus_mgc_calls_active"); n != 0 {
				t.Errorf("%v calls are active", n)
			}
			if n := metric(t, "isthmus_mgc_call_events_dropped_total") - dropped; n != 0 {
				t.Errorf("%v events were dropped", n)
			}
		})
	}
}

// injected are the parameters of calls to browsers from an injection file, with injection as its lines.
var injected = params{"User": "[field0]", "URI": "sip:[field0]@[field1];transport=ws", "Path": "<sip:[field2];lr;ob>"}

// injection is the browser's line: user, host of its Contact, user and host of its Path.
func (b *browser) injection() string {
	u := world.registrar.binding(b.user)
	host, _, _ := strings.Cut(strings.TrimPrefix(u.contact, "sip:"+b.user+"@"), ";")
	path, _, _ := strings.Cut(strings.TrimPrefix(u.path, "<sip:"), ";")
	return b.user + ";" + host + ";" + path
}
