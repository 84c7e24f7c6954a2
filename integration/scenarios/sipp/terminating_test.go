package sipp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	peer "github.com/isthmus-gateway/isthmus/integration/internal/peers/sipp"
	"github.com/isthmus-gateway/isthmus/integration/internal/scenario"
	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
	"github.com/isthmus-gateway/isthmus/integration/internal/webua"
)

// nowhere is the Service-Route of browsers that do not call.
var nowhere = netip.MustParseAddrPort("127.0.0.1:9")

// TestCoreCalls has sipp call the browser by the Path that it registered.
func TestCoreCalls(t *testing.T) {
	both(t, "REG-14_caller_hangs_up", callerHangsUp)
	both(t, "browser_hangs_up", calledBrowserHangsUp)
	both(t, "MO-15_cancel_after_100", func(t *testing.T, transport string) { callerCancels(t, transport, "100") })
	both(t, "MO-15_cancel_after_180", func(t *testing.T, transport string) { callerCancels(t, transport, "180") })
	both(t, "MT-10_browser_refuses", browserRefuses)
	both(t, "MT-10_socket_lost_while_ringing", socketLost)
	both(t, "requests_in_dialog", requestsToSipp)
	both(t, "message", messageToBrowser)
	both(t, "MO-19_late_offer", lateOffer)
	both(t, "ARC-10_MT-08_browser_behind_another_address", rebound)
}

func callerHangsUp(t *testing.T, transport string) {
	b := newBrowser(t, transport, nowhere, nil)
	r := fromCore(t, "uac_call", transport, b.caller())
	ctx := scenario.Within(t, patience)
	call := b.answered(ctx, t)
	over(ctx, t, call)
	res := r.done(ctx)
	received(t, res, "180 INVITE", 0)
	inv := b.ladder.await(ctx, t, 1, "INVITE")
	if got := inv.Get("Max-Forwards"); got != "69" {
		t.Errorf("Max-Forwards is %s, want 69", got)
	}
	if got := inv.Get("From"); !strings.HasPrefix(got, `"Core user" <sip:core@isthmus.example>`) {
		t.Errorf("From %s", got)
	}
	for _, name := range []string{"Route", "Record-Route"} {
		if v := inv.Get(name); v != "" {
			t.Errorf("%s %s reached the browser", name, v)
		}
	}
	if u := world.registrar.binding(b.user); inv.URI != u.contact {
		t.Errorf("Request-URI %s, want %s", inv.URI, u.contact)
	}
}

// calledBrowserHangsUp is the plain call, with audio that sipp sends back.
func calledBrowserHangsUp(t *testing.T, transport string) {
	b := newBrowser(t, transport, nowhere, nil)
	r := startSipp(t, "uac_hung_up", b.caller(), peer.Config{Transport: transport, Local: local(t), Remote: world.core, Echo: true})
	ctx := scenario.Within(t, patience)
	call := b.incoming(ctx, t)
	if err := call.Answer(tone.NewSine(620, -12)); err != nil {
		t.Fatal(err)
	}
	if err := call.WaitAudio(ctx, 620); err != nil {
		t.Error(err)
	}
	if err := call.Hangup(ctx); err != nil {
		t.Error(err)
	}
	r.done(ctx)
}

// rebound: the browser's address has changed, by a NAT for instance, and it registers again over a new connection before anybody has
// noticed that the old one is dead: calls come over the new one only, and their media through the gateway as ever.
func rebound(t *testing.T, transport string) {
	b := newBrowser(t, transport, nowhere, nil)
	calls, seen := make(chan *webua.Call, 10), newLadder()
	ctx := scenario.Within(t, patience)
	again, err := b.Redial(ctx, func(c *webua.Config) {
		c.OnCall, c.Trace = func(c *webua.Call) { calls <- c }, seen.add
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(again.Close)
	before := world.registrar.binding(b.user)
	if err := again.Register(ctx, time.Minute); err != nil {
		t.Fatal(err)
	}
	if now := world.registrar.binding(b.user); now.contact != before.contact {
		t.Fatalf("Contact changed from %s to %s", before.contact, now.contact)
	}
	for _, path := range []string{before.path, world.registrar.binding(b.user).path} {
		p := b.caller().with("Path", path)
		r := startSipp(t, "uac_hung_up", p, peer.Config{Transport: transport, Local: local(t), Remote: world.core, Echo: true})
		var call *webua.Call
		select {
		case call = <-calls:
		case <-ctx.Done():
			t.Fatalf("no call over the new connection; over the old one\n%s", b.ladder)
		}
		if err := call.Answer(tone.NewSine(620, -12)); err != nil {
			t.Fatal(err)
		}
		if err := call.WaitAudio(ctx, 620); err != nil {
			t.Error(err)
		}
		if err := call.Hangup(ctx); err != nil {
			t.Error(err)
		}
		r.done(ctx)
	}
	for _, inv := range seen.received("INVITE") {
		if !strings.Contains(inv.Body, "a=ice-lite") || strings.Contains(inv.Body, "RTP/AVP") {
			t.Errorf("the description is not the gateway's:\n%s", inv.Body)
		}
	}
	if n := len(b.ladder.received("INVITE")); n > 0 {
		t.Errorf("%d INVITE over the old connection", n)
	}
	if err := again.Register(ctx, 0); err != nil {
		t.Error(err)
	}
}

// lateOffer: an INVITE without an offer; the gateway's is in the 200, sipp's answer in the ACK (RFC 3261 §13.2.1).
func lateOffer(t *testing.T, transport string) {
	b := newBrowser(t, transport, nowhere, nil)
	p := b.caller().with("NoBody", true)
	r := startSipp(t, "uac_late_offer", p, peer.Config{Transport: transport, Local: local(t), Remote: world.core, Echo: true})
	ctx := scenario.Within(t, patience)
	call := b.incoming(ctx, t)
	if err := call.Answer(tone.NewSine(620, -12)); err != nil {
		t.Fatal(err)
	}
	if err := call.WaitAudio(ctx, 620); err != nil {
		t.Error(err)
	}
	if err := call.Hangup(ctx); err != nil {
		t.Error(err)
	}
	res := r.done(ctx)
	if offer := received(t, res, "200 INVITE", 0).Body; !strings.Contains(offer, "m=audio") {
		t.Errorf("no offer in the 200: %q", offer)
	}
}

// callerCancels: CANCEL before and after the browser rings; sipp gets 200 for it and 487, the browser a CANCEL.
func callerCancels(t *testing.T, transport, after string) {
	b := newBrowser(t, transport, nowhere, func(c *webua.Config) { c.NoRinging = after == "100" })
	r := fromCore(t, "uac_cancel", transport, cancelling(b, after))
	ctx := scenario.Within(t, patience)
	received(t, r.done(ctx), "200 CANCEL", 0)
	if n := len(b.ladder.received("INVITE")); after == "180" && n != 1 {
		t.Errorf("%d INVITE reached the browser", n)
	}
	// After 100 the browser may not have been called yet.
	for range b.ladder.received("INVITE") {
		call := b.incoming(ctx, t)
		over(ctx, t, call)
		if got := call.Result().Cause; got != "cancelled" {
			t.Errorf("the browser's call ended by %q", got)
		}
	}
}

// cancelling are the parameters of uac_cancel: which response it waits for, and how far its later messages are from the INVITE.
func cancelling(b *browser, after string) params {
	p := b.caller().with("After", after, "CancelBranch", 3, "Branch", 7)
	if after == "180" {
		p = p.with("CancelBranch", 4, "Branch", 8)
	}
	return p
}

// refusedBranch is how far the ACK of uac_refused is from its INVITE.
const refusedBranch = 5

func browserRefuses(t *testing.T, transport string) {
	b := newBrowser(t, transport, nowhere, nil)
	r := fromCore(t, "uac_refused", transport, b.caller().with("Code", 603, "Branch", refusedBranch))
	ctx := scenario.Within(t, patience)
	b.incoming(ctx, t).Reject(603, "Decline", `Reason: Q.850;cause=21;text="Call rejected"`)
	final := received(t, r.done(ctx), "603 INVITE", 0)
	if got := final.Get("Reason"); got != `Q.850;cause=21;text="Call rejected"` {
		t.Errorf("Reason %q did not cross", got)
	}
}

// socketLost: the WebSocket goes while the browser rings.
func socketLost(t *testing.T, transport string) {
	b := newBrowser(t, transport, nowhere, nil)
	if err := b.Register(scenario.Within(t, patience), 5*time.Second); err != nil { // nobody will de-register it
		t.Fatal(err)
	}
	r := fromCore(t, "uac_refused", transport, b.caller().with("Code", 480, "Branch", refusedBranch))
	ctx := scenario.Within(t, patience)
	b.incoming(ctx, t)
	b.Close()
	r.done(ctx)
}

// requestsToSipp: the browser holds, resumes and sends a message in a call that sipp began.
func requestsToSipp(t *testing.T, transport string) {
	b := newBrowser(t, transport, nowhere, nil)
	r := fromCore(t, "uac_in_dialog", transport, b.caller().with("Directions", []string{"recvonly", "sendrecv"}))
	ctx := scenario.Within(t, patience)
	call := b.answered(ctx, t)
	b.ladder.await(ctx, t, 1, "ACK")
	for _, c := range [][2]string{{"sendonly", "recvonly"}, {"sendrecv", "sendrecv"}} {
		answer := reoffer(ctx, t, call, c[0])
		if !strings.Contains(answer, "a="+c[1]) {
			t.Errorf("answer to %s is not %s:\n%s", c[0], c[1], answer)
		}
	}
	if _, err := call.Request(ctx, "INFO", []string{"Content-Type: application/vnd.example.lamp"}, "Lamp=1\r\nOn=100\r\n"); err != nil {
		t.Error(err)
	}
	if err := call.Hangup(ctx); err != nil {
		t.Error(err)
	}
	if got := received(t, r.done(ctx), "INFO", 0).Body; !strings.Contains(got, "Lamp=1") {
		t.Errorf("INFO changed on its way: %q", got)
	}
}

// reoffer sends a re-INVITE, again as long as the ACK of the last INVITE is on its way in the core (491, RFC 3261 §14.1).
func reoffer(ctx context.Context, t *testing.T, call *webua.Call, direction string) string {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		answer, err := call.Reoffer(ctx, direction)
		var refused *webua.StatusError
		switch {
		case err == nil:
			return answer
		case !errors.As(err, &refused) || refused.Code != 491:
			t.Fatalf("%s: %v", direction, err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: %v", direction, err)
		}
	}
}

// messageToBrowser: MESSAGE and OPTIONS outside a dialog reach the browser by its Path.
func messageToBrowser(t *testing.T, transport string) {
	b := newBrowser(t, transport, nowhere, nil)
	ctx := scenario.Within(t, patience)
	fromCore(t, "uac_request", transport, b.caller().with("Method", "MESSAGE", "Code", 200, "Body", "hello browser")).done(ctx)
	if got := b.ladder.await(ctx, t, 1, "MESSAGE").Body; !strings.Contains(got, "hello browser") {
		t.Errorf("MESSAGE changed on its way: %q", got)
	}
	fromCore(t, "uac_request", transport, b.caller().with("Method", "OPTIONS", "Code", 200)).done(ctx)
	b.ladder.await(ctx, t, 1, "OPTIONS")
}

// TestCoreRefused has sipp send what the gateway must refuse by itself, and checks the status and why.
func TestCoreRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int
		more   func(b *browser) params
		field  string // of the refusal
		want   string // in the field
	}{
		{"MO-09_no_usable_codec", 488, body("m=audio 9000 RTP/AVP 96\na=rtpmap:96 CLEARMODE/8000\n"), "Warning", `305 isthmus "no usable audio codec"`},
		{"only_video", 488, body("m=video 9000 RTP/AVP 96\na=rtpmap:96 H264/90000\n"), "Warning", `304 isthmus "no audio offered"`},
		{"audio_refused", 488, body("m=audio 0 RTP/AVP 8\n"), "Warning", `304 isthmus "no audio offered"`},
		{"no_media_line", 488, body(""), "Warning", `304 isthmus "no audio offered"`},
		{"no_description", 488, set("Body", "this is no description\n"), "Warning", "399"},
		{"other_body", 415, set("ContentType", "text/plain"), "Accept", "application/sdp"},
		{"MT-05_unsupported_extension", 420, set("Headers", "Require: 100rel, frobnicate"), "Unsupported", "frobnicate"},
		{"MO-20_max_forwards", 483, set("MaxForwards", "0"), "", ""},
		{"MT-01_forged_token", 403, forged, "", ""},
		{"no_route", 404, func(*browser) params {
			return params{"Path": "<sip:" + world.core.String() + ";lr>"}
		}, "", ""},
	} {
		both(t, c.name, func(t *testing.T, transport string) {
			b := newBrowser(t, transport, nowhere, nil)
			p := b.caller().with("Code", c.status, "Branch", refusedBranch)
			for k, v := range c.more(b) {
				p = p.with(k, v)
			}
			res := fromCore(t, "uac_refused", transport, p).done(scenario.Within(t, patience))
			final := received(t, res, fmt.Sprintf("%d INVITE", c.status), 0)
			if got := final.Get(c.field); c.field != "" && !strings.Contains(got, c.want) {
				t.Errorf("%s %q, want %q", c.field, got, c.want)
			}
			if d := final.Body; c.status == 488 && !strings.Contains(d, "m=audio 0 RTP/AVP 8 0 9 101") {
				t.Errorf("the 488 does not say what is acceptable: %q", d)
			}
			if final.Tag("To") == "" {
				t.Error("no To tag")
			}
			if n := len(b.ladder.received("INVITE")); n > 0 {
				t.Error("the INVITE reached the browser")
			}
		})
	}
	both(t, "MT-01_dead_flow", deadFlow)
	both(t, "requests", strayRequests)
	both(t, "MO-20_message_max_forwards", func(t *testing.T, transport string) {
		b := newBrowser(t, transport, nowhere, nil)
		fromCore(t, "uac_request", transport, b.caller().with("Method", "MESSAGE", "Code", 483, "Body", "x", "MaxForwards", "0")).done(scenario.Within(t, patience))
	})
}

func set(key string, value any) func(*browser) params {
	return func(*browser) params { return params{key: value} }
}

// body is an offer with these media lines.
func body(media string) func(*browser) params {
	return set("Body", "v=0\no=sipp 1 1 IN IP4 [local_ip]\ns=-\nc=IN IP4 [media_ip]\nt=0 0\n"+media)
}

// forged changes one character in the middle of the token.
func forged(b *browser) params {
	path := []byte(world.registrar.binding(b.user).path)
	i := len("<sip:") + 20
	if path[i] == 'a' {
		path[i] = 'b'
	} else {
		path[i] = 'a'
	}
	return params{"Path": string(path)}
}

// deadFlow: the browser's WebSocket is gone, its binding is not (REG-28).
func deadFlow(t *testing.T, transport string) {
	b := newBrowser(t, transport, nowhere, nil)
	ctx := scenario.Within(t, patience)
	if err := b.Register(ctx, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	b.Close()
	disconnected(ctx, t, b.user)
	fromCore(t, "uac_refused", transport, b.caller().with("Code", 430, "Branch", refusedBranch)).done(ctx)
}

// strayRequests: single requests that the gateway answers by itself.
func strayRequests(t *testing.T, transport string) {
	b := newBrowser(t, transport, nowhere, nil)
	gateway, unknown := "sip:"+world.core.String(), "sip:nobody@"+world.core.String()
	forgedContact := "sip:aea" + strings.Repeat("b", 69) + "@" + world.core.String()
	for _, c := range []struct {
		name   string
		p      params
		status int
		field  string
		want   string
	}{
		{"BYE of no dialog", params{"Method": "BYE", "URI": "sip:x@" + domain, "ToTag": "none"}, 481, "", ""},
		{"BYE to a forged Contact", params{"Method": "BYE", "URI": forgedContact, "ToTag": "none"}, 403, "", ""},
		{"re-INVITE of no dialog", params{"Method": "UPDATE", "URI": "sip:x@" + domain, "ToTag": "none"}, 481, "", ""},
		{"BYE without To tag", params{"Method": "BYE", "URI": gateway}, 481, "", ""},
		{"unknown method", params{"Method": "FROB", "URI": gateway}, 405, "Allow", "INVITE"},
		{"REGISTER from the core", params{"Method": "REGISTER", "URI": gateway}, 405, "Allow", "INVITE"},
		{"OPTIONS to the gateway", params{"Method": "OPTIONS", "URI": gateway}, 200, "Allow", "INVITE"},
		{"MESSAGE to nobody", params{"Method": "MESSAGE", "URI": unknown, "Body": "x"}, 403, "", ""},
		{"MESSAGE with Require", b.caller().with("Method", "MESSAGE", "Body", "x", "Headers", "Require: frobnicate"), 420, "Unsupported", "frobnicate"},
		{"two From", params{"Method": "OPTIONS", "URI": gateway, "Headers": "From: <sip:a@b>;tag=2"}, 400, "", "Multiple From Header Fields"},
		{"malformed Max-Forwards", params{"Method": "OPTIONS", "URI": gateway, "MaxForwards": "many"}, 400, "", "Malformed Max-Forwards"},
		{"malformed Route", params{"Method": "OPTIONS", "URI": gateway, "Path": "sip:no-angle"}, 400, "", "Malformed Route"},
		{"control character", params{"Method": "OPTIONS", "URI": gateway, "Headers": "Subject: a\x01b"}, 400, "", "Control Character In Header Field"},
	} {
		res := fromCore(t, "uac_request", transport, c.p.with("Code", c.status, "User", b.user)).done(scenario.Within(t, patience))
		for _, e := range res.Trace {
			if e.Sent || e.Status != c.status {
				continue
			}
			if c.field != "" && !strings.Contains(e.Get(c.field), c.want) {
				t.Errorf("%s: %s %q, want %q", c.name, c.field, e.Get(c.field), c.want)
			}
			if c.field == "" && c.want != "" && e.Reason != c.want {
				t.Errorf("%s: reason %q, want %q", c.name, e.Reason, c.want)
			}
		}
	}
}
