package sipp

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	peer "github.com/isthmus-gateway/isthmus/integration/internal/peers/sipp"
	"github.com/isthmus-gateway/isthmus/integration/internal/scenario"
	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
	"github.com/isthmus-gateway/isthmus/integration/internal/webua"
)

const patience = 20 * time.Second // of one call; only a bound, nothing is measured

// toSipp starts a scenario that waits for a call, and a browser whose calls go to it.
func toSipp(t *testing.T, scenario, transport string, p params) (*browser, *sippRun) {
	t.Helper()
	at := local(t)
	r := startSipp(t, scenario, p.with("User", "callee"), peer.Config{Transport: transport, Local: at, Echo: true})
	return newBrowser(t, transport, at, nil), r
}

const callee = "sip:callee@" + domain

// TestBrowserCalls has the browser call sipp.
func TestBrowserCalls(t *testing.T) {
	both(t, "browser_hangs_up", browserHangsUp)
	both(t, "callee_hangs_up", calleeHangsUp)
	both(t, "MO-14_early_media", earlyMedia)
	both(t, "MO-11_reliable_183", reliableProgress)
	both(t, "MO-15_cancel", cancelRinging)
	both(t, "MO-15_cancel_before_1xx", cancelSilent)
	both(t, "MO-15_cancel_crosses_200", cancelCrosses200)
	both(t, "record_route", recordRoute)
	both(t, "MO-18_hold_by_callee", holdByCallee)
	both(t, "MO-18_hold_by_browser", holdByBrowser)
	both(t, "requests_in_dialog", requestsInDialog)
	both(t, "MO-16_message", messageFromBrowser)
	t.Run("timer_B", func(t *testing.T) { t.Parallel(); silentCallee(t) })
	for _, c := range []struct {
		code           int
		phrase, reason string
	}{
		{486, "Busy Here", `Q.850;cause=17;text="User busy"`},
		{603, "Decline", `Q.850;cause=21;text="Call rejected"`},
		{404, "Not Found", `Q.850;cause=1;text="Unallocated number"`},
		{500, "Server Internal Error", `Q.850;cause=41;text="Temporary failure", SIP;cause=500`},
		{302, "Moved Temporarily", ""},
	} {
		both(t, "MO-15_refused_"+c.phrase, func(t *testing.T, transport string) { refusedByCallee(t, transport, c.code, c.phrase, c.reason) })
	}
}

// browserHangsUp is the plain call, with audio that sipp sends back.
func browserHangsUp(t *testing.T, transport string) {
	b, r := toSipp(t, "uas_answer", transport, nil)
	ctx := scenario.Within(t, patience)
	call, err := b.Call(ctx, callee, tone.NewSine(620, -12))
	if err != nil {
		t.Fatalf("%v; the browser saw\n%s", err, b.ladder)
	}
	if err := call.WaitAudio(ctx, 620); err != nil {
		t.Error(err)
	}
	if err := call.Hangup(ctx); err != nil {
		t.Error(err)
	}
	res := r.done(ctx)
	b.ladder.await(ctx, t, 1, "180 INVITE")
	checkInvite(t, res, transport)
}

// checkInvite checks what the core gets of a browser's INVITE.
func checkInvite(t *testing.T, res peer.Result, transport string) {
	t.Helper()
	inv := received(t, res, "INVITE", 0)
	if got := inv.Get("Max-Forwards"); got != "68" { // the browser sends 69 (RFC 3261 §16.6 step 3)
		t.Errorf("Max-Forwards is %s, want 68", got)
	}
	if sup := inv.Get("Supported"); !strings.Contains(sup, "100rel") || !strings.Contains(inv.Get("Allow"), "PRACK") || inv.Get("Require") != "" {
		t.Errorf("Supported: %s, Allow: %s, Require: %q; want reliable provisional responses offered, not required", sup, inv.Get("Allow"), inv.Get("Require"))
	}
	if v := inv.Get("Via"); !strings.HasPrefix(v, "SIP/2.0/"+strings.ToUpper(transport)) {
		t.Errorf("Via %s, want %s", v, transport)
	}
	if inv.URI != callee {
		t.Errorf("Request-URI %s", inv.URI)
	}
	if n := len(inv.Values("Via")); n != 1 {
		t.Errorf("%d Via: the browser's hop is visible", n)
	}
	for _, word := range []string{"ice-", "fingerprint", "SAVPF", "candidate", "rtcp-mux", ".invalid"} {
		if strings.Contains(inv.Body+strings.Join(inv.Lines, "\n"), word) {
			t.Errorf("%q reached the core", word)
		}
	}
	if n := len(res.Received("PRACK")); n > 0 {
		t.Errorf("%d PRACK", n)
	}
}

func calleeHangsUp(t *testing.T, transport string) {
	b, r := toSipp(t, "uas_answer_bye", transport, nil)
	ctx := scenario.Within(t, patience)
	call, err := b.Call(ctx, callee, tone.Silence{})
	if err != nil {
		t.Fatal(err)
	}
	over(ctx, t, call)
	r.done(ctx)
	if got := b.ladder.await(ctx, t, 1, "BYE").Get("Reason"); got != `Q.850;cause=16;text="Normal call clearing"` {
		t.Errorf("Reason %q did not cross", got)
	}
}

// earlyMedia: the browser's answer is made of the 183 and stays the same in the 200.
func earlyMedia(t *testing.T, transport string) {
	b, r := toSipp(t, "uas_progress", transport, nil)
	ctx := scenario.Within(t, patience)
	call, err := b.Call(ctx, callee, tone.Silence{})
	if err != nil {
		t.Fatal(err)
	}
	if err := call.Hangup(ctx); err != nil {
		t.Error(err)
	}
	r.done(ctx)
	early, final := b.ladder.await(ctx, t, 1, "183 INVITE"), b.ladder.await(ctx, t, 1, "200 INVITE")
	if early.Body == "" || early.Body != final.Body {
		t.Errorf("descriptions differ:\n%s\n%s", early.Body, final.Body)
	}
}

// reliableProgress: the gateway acknowledges a reliable 183 by itself, and the browser sees an unreliable one (RFC 3262).
func reliableProgress(t *testing.T, transport string) {
	b, r := toSipp(t, "uas_reliable", transport, nil)
	ctx := scenario.Within(t, patience)
	call, err := b.Call(ctx, callee, tone.NewSine(620, -12))
	if err != nil {
		t.Fatalf("%v; the browser saw\n%s", err, b.ladder)
	}
	if err := call.WaitAudio(ctx, 620); err != nil {
		t.Error(err)
	}
	if err := call.Hangup(ctx); err != nil {
		t.Error(err)
	}
	res := r.done(ctx)
	if got := received(t, res, "PRACK", 0).Get("RAck"); got != "17 1 INVITE" {
		t.Errorf("RAck %q", got)
	}
	early := b.ladder.await(ctx, t, 1, "183 INVITE")
	if early.Get("RSeq") != "" || early.Get("Require") != "" || early.Body == "" {
		t.Errorf("the browser's 183: %v %q", early.Lines, early.Body)
	}
}

// refusedByCallee: the final response crosses one to one with Reason and Contact.
func refusedByCallee(t *testing.T, transport string, code int, phrase, reason string) {
	extra := "Contact: <sip:elsewhere@example.net>"
	if code/100 != 3 {
		extra = "Reason: " + reason
	}
	b, r := toSipp(t, "uas_refuse", transport, params{"Code": code, "Phrase": phrase, "Headers": extra})
	ctx := scenario.Within(t, patience)
	_, err := b.Call(ctx, callee, tone.Silence{})
	kept := refusedWith(t, err, code)
	if kept["Reason"] != reason {
		t.Errorf("Reason %q, want %q", kept["Reason"], reason)
	}
	r.done(ctx)
	final := b.ladder.await(ctx, t, 1, fmt.Sprintf("%d INVITE", code))
	if final.Reason != phrase {
		t.Errorf("reason phrase %q, want %q", final.Reason, phrase)
	}
	if got := strings.Join(final.Values("Contact"), " "); code == 302 && !strings.Contains(got, "sip:elsewhere@example.net") {
		t.Errorf("Contact %q of the redirection", got)
	}
}

// cancelRinging: the browser gives up while it rings.
func cancelRinging(t *testing.T, transport string) {
	b, r := toSipp(t, "uas_cancelled", transport, nil)
	ctx := scenario.Within(t, patience)
	cancelWhen(ctx, t, b, "180 INVITE", 487)
	r.done(ctx)
}

// cancelSilent: the callee has said nothing yet, so the CANCEL has to wait for it (RFC 3261 §9.1).
func cancelSilent(t *testing.T, transport string) {
	b, r := toSipp(t, "uas_cancelled", transport, params{"Silence": 1000})
	ctx := scenario.Within(t, patience)
	cancelWhen(ctx, t, b, "100 INVITE", 487)
	res := r.done(ctx)
	for _, e := range res.Trace {
		if e.Is("180 INVITE") {
			break
		}
		if e.Is("CANCEL") {
			t.Errorf("CANCEL before a provisional response: %s", res)
		}
	}
}

// cancelCrosses200: the callee answers although it was cancelled; the gateway acknowledges and hangs up, the browser sees 487.
func cancelCrosses200(t *testing.T, transport string) {
	b, r := toSipp(t, "uas_answers_cancel", transport, nil)
	ctx := scenario.Within(t, patience)
	cancelWhen(ctx, t, b, "180 INVITE", 487)
	r.done(ctx)
}

// cancelWhen calls sipp, cancels when the response has come and checks what the browser is told.
func cancelWhen(ctx context.Context, t *testing.T, b *browser, response string, want int) {
	t.Helper()
	callCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make(chan error, 1)
	go func() {
		_, err := b.Call(callCtx, callee, tone.Silence{})
		failed <- err
	}()
	b.ladder.await(ctx, t, 1, response)
	cancel()
	select {
	case err := <-failed:
		refusedWith(t, err, want)
	case <-ctx.Done():
		t.Fatalf("the cancelled call has no end; the browser saw\n%s", b.ladder)
	}
	b.ladder.await(ctx, t, 1, "200 CANCEL")
}

// recordRoute: requests in the dialog go along the recorded route, and only there (RFC 3261 §12.1.2, §12.2.1.1).
func recordRoute(t *testing.T, transport string) {
	at := local(t)
	first := "<sip:" + at.String() + ";transport=" + transport + ";lr;hop=near>"
	p := params{"User": "callee", "RecordRoute": "<sip:far.example;lr;hop=far>, " + first, "Contact": "127.0.0.9:9"}
	r := startSipp(t, "uas_answer", p, peer.Config{Transport: transport, Local: at})
	b := newBrowser(t, transport, at, nil)
	ctx := scenario.Within(t, patience)
	call, err := b.Call(ctx, callee, tone.Silence{})
	if err != nil {
		t.Fatal(err)
	}
	if err := call.Hangup(ctx); err != nil {
		t.Error(err)
	}
	res := r.done(ctx)
	for _, method := range []string{"ACK", "BYE"} {
		m := received(t, res, method, 0)
		if got, want := strings.Join(m.Values("Route"), ", "), first+", <sip:far.example;lr;hop=far>"; got != want {
			t.Errorf("%s Route %s, want %s", method, got, want)
		}
		if !strings.HasPrefix(m.URI, "sip:callee@127.0.0.9:9") {
			t.Errorf("%s Request-URI %s is not the remote target", method, m.URI)
		}
	}
}

// silentCallee: nothing comes back, so the INVITE is repeated and ends by timer B with 408.
func silentCallee(t *testing.T) {
	b, r := toSipp(t, "uas_silent", "udp", params{"Silence": (timerB + 3*time.Second).Milliseconds()})
	ctx := scenario.Within(t, timerB+patience)
	_, err := b.Call(ctx, callee, tone.Silence{})
	refusedWith(t, err, 408)
	res := r.done(ctx)
	sent := res.Received("INVITE")
	if len(sent) != 7 { // at 0, 1, 3, 7, 15, 31, 63 of T1 (RFC 3261 §17.1.1.2)
		t.Errorf("%d INVITE, want 7: %s", len(sent), res)
	}
	for _, m := range sent {
		if m.Get("Via") != sent[0].Get("Via") {
			t.Errorf("a repeated INVITE is another transaction: %s, %s", m.Get("Via"), sent[0].Get("Via"))
		}
	}
}

// holdByCallee: sipp holds and resumes; the browser is offered the mirrored directions.
func holdByCallee(t *testing.T, transport string) {
	b, r := toSipp(t, "uas_hold", transport, params{"Directions": []string{"sendonly", "inactive", "sendrecv"}})
	ctx := scenario.Within(t, patience)
	call, err := b.Call(ctx, callee, tone.NewSine(620, -12))
	if err != nil {
		t.Fatal(err)
	}
	for i, direction := range []string{"sendonly", "inactive", "sendrecv"} {
		offer := b.ladder.await(ctx, t, i+1, "INVITE")
		if !strings.Contains(offer.Body, "a="+direction+"\r\n") && !strings.Contains(offer.Body, "a="+direction+"\n") {
			t.Errorf("re-INVITE %d does not offer %s:\n%s", i+1, direction, offer.Body)
		}
	}
	b.ladder.await(ctx, t, 3, "ACK")
	heardMore(ctx, t, call)
	if err := call.Hangup(ctx); err != nil {
		t.Error(err)
	}
	res := r.done(ctx)
	for i, want := range []string{"recvonly", "inactive", "sendrecv"} {
		if got := received(t, res, "200 INVITE", i).Body; !strings.Contains(got, "a="+want) {
			t.Errorf("answer %d is not %s:\n%s", i+1, want, got)
		}
	}
}

// holdByBrowser: the browser holds and resumes.
func holdByBrowser(t *testing.T, transport string) {
	b, r := toSipp(t, "uas_held", transport, params{"Directions": []string{"recvonly", "sendrecv"}})
	ctx := scenario.Within(t, patience)
	call, err := b.Call(ctx, callee, tone.NewSine(620, -12))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range [][2]string{{"sendonly", "recvonly"}, {"sendrecv", "sendrecv"}} {
		answer := reoffer(ctx, t, call, c[0])
		if !strings.Contains(answer, "a="+c[1]) {
			t.Errorf("answer to %s is not %s:\n%s", c[0], c[1], answer)
		}
	}
	heardMore(ctx, t, call)
	if err := call.Hangup(ctx); err != nil {
		t.Error(err)
	}
	res := r.done(ctx)
	for i, want := range []string{"sendonly", "sendrecv"} {
		if got := received(t, res, "INVITE", i+1).Body; !strings.Contains(got, "a="+want) {
			t.Errorf("offer %d is not %s:\n%s", i+1, want, got)
		}
	}
}

// heardMore waits for media that comes to the browser from now on.
func heardMore(ctx context.Context, t *testing.T, call *webua.Call) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	before := call.Result().Packets
	for call.Result().Packets < before+10 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("no media after the hold: %+v; the media gateway holds %s", call.Result(), contexts())
		}
	}
}

// requestsInDialog: OPTIONS, INFO that carries no digit (media.dtmf) and MESSAGE pass with their bodies both ways; a method that nobody knows is 501.
func requestsInDialog(t *testing.T, transport string) {
	b, r := toSipp(t, "uas_in_dialog", transport, nil)
	ctx := scenario.Within(t, patience)
	call, err := b.Call(ctx, callee, tone.Silence{})
	if err != nil {
		t.Fatal(err)
	}
	b.ladder.await(ctx, t, 1, "OPTIONS")
	info, text := b.ladder.await(ctx, t, 1, "INFO"), b.ladder.await(ctx, t, 1, "MESSAGE")
	b.ladder.sent(ctx, t, "200 MESSAGE") // sipp takes our requests only after it
	if info.Get("Content-Type") != "application/vnd.example.lamp" || !strings.Contains(info.Body, "Lamp=5") {
		t.Errorf("INFO changed on its way: %s %q", info.Get("Content-Type"), info.Body)
	}
	if !strings.Contains(text.Body, "from the core") {
		t.Errorf("MESSAGE changed on its way: %q", text.Body)
	}
	for _, m := range []struct{ method, contentType, body string }{
		{"OPTIONS", "", ""}, {"INFO", "application/vnd.example.lamp", "Lamp=7\r\nOn=200\r\n"}, {"MESSAGE", "text/plain", "from the browser"},
	} {
		var hs []string
		if m.body != "" {
			hs = append(hs, "Content-Type: "+m.contentType)
		}
		if _, err := call.Request(ctx, m.method, hs, m.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := call.Hangup(ctx); err != nil {
		t.Error(err)
	}
	res := r.done(ctx)
	got := received(t, res, "INFO", 0)
	if got.Get("Content-Type") != "application/vnd.example.lamp" || !strings.Contains(got.Body, "Lamp=7") {
		t.Errorf("INFO changed on its way: %s %q", got.Get("Content-Type"), got.Body)
	}
	if got := received(t, res, "MESSAGE", 0).Body; !strings.Contains(got, "from the browser") {
		t.Errorf("MESSAGE changed on its way: %q", got)
	}
	if n := len(b.ladder.received("FROB")); n > 0 {
		t.Error("an unknown method reached the browser")
	}
}

// messageFromBrowser: a page-mode message outside a dialog.
func messageFromBrowser(t *testing.T, transport string) {
	b, r := toSipp(t, "uas_message", transport, nil)
	ctx := scenario.Within(t, patience)
	if err := b.Message(ctx, callee, "hello core"); err != nil {
		t.Fatal(err)
	}
	res := r.done(ctx)
	m := received(t, res, "MESSAGE", 0)
	if !strings.Contains(m.Body, "hello core") || m.Get("Content-Type") != "text/plain" {
		t.Errorf("MESSAGE changed on its way: %v %q", m.Lines, m.Body)
	}
	if got := m.Get("Max-Forwards"); got != "68" {
		t.Errorf("Max-Forwards %s, want 68", got)
	}
}
