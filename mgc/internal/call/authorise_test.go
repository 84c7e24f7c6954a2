package call

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/policy"
	"github.com/isthmus-gateway/isthmus/pkg/wait"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// pcf is a policy function that all instances of a test share.
type pcf struct {
	mu      sync.Mutex // guards below
	next    int
	open    map[string]policy.Facts // application sessions by URI, as they were told last
	deleted map[string]int          // how often, by URI
	told    []policy.Facts
	say     func(f policy.Facts) error // verdict; nil: granted
	gate    chan struct{}              // not nil: requests wait until it is closed
}

func newPCF() *pcf { return &pcf{open: map[string]policy.Facts{}, deleted: map[string]int{}} }

func (p *pcf) set(f func()) { p.mu.Lock(); defer p.mu.Unlock(); f() }

// facts returns what was told so far.
func (p *pcf) facts() []policy.Facts {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.told)
}

// left checks that no application session is left and that each was deleted once.
func (p *pcf) left(t *testing.T, made int) {
	t.Helper()
	wait.Until(t, "all application sessions are deleted", func() bool { p.mu.Lock(); defer p.mu.Unlock(); return len(p.open) == 0 && len(p.deleted) == made })
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.next != made || slices.Max(append(slices.Collect(maps.Values(p.deleted)), 0)) > 1 {
		t.Errorf("%d application sessions made, want %d; deleted %v", p.next, made, p.deleted)
	}
}

// agent is the policy agent of one instance: as N5, it deletes what is made belatedly and knows what it has deleted.
type agent struct {
	*pcf
	events chan policy.Event
	gone   map[string]bool // guarded by pcf.mu
}

func (p *pcf) agent() *agent {
	return &agent{pcf: p, events: make(chan policy.Event, 8), gone: map[string]bool{}}
}

func (a *agent) Events() <-chan policy.Event { return a.events }

func (a *agent) Create(ctx context.Context, f policy.Facts) (policy.Session, error) {
	return a.Update(ctx, policy.Session{Call: f.Call}, f)
}

func (a *agent) Update(ctx context.Context, s policy.Session, f policy.Facts) (policy.Session, error) {
	a.mu.Lock()
	a.told = append(a.told, f)
	gate, say := a.gate, a.say
	a.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return s, ctx.Err()
		}
	}
	if say != nil {
		if err := say(f); err != nil {
			return s, err
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !s.Open() {
		a.next++
		s = policy.Session{Call: f.Call, UE: f.UE, URI: fmt.Sprintf("http://pcf/npcf-policyauthorization/v1/app-sessions/%d", a.next)}
	}
	a.open[s.URI] = f
	return s, nil
}

func (a *agent) Delete(s policy.Session) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !s.Open() || a.gone[s.URI] {
		return
	}
	a.gone[s.URI] = true
	if _, ok := a.open[s.URI]; ok { // else 404
		delete(a.open, s.URI)
		a.deleted[s.URI]++
	}
}

// policed is an instance with a policy function.
func (p *pool) policed(name string, f *pcf) (*instance, *agent) {
	a := f.agent()
	return p.instanceWith(name, func(d *Deps) {
		d.Policy = a
		d.PeerOf = func(flow string) netip.Addr {
			return map[string]netip.Addr{"fa": netip.MustParseAddr("192.0.2.10"), "fb": netip.MustParseAddr("192.0.2.11"), "fa2": netip.MustParseAddr("192.0.2.20")}[flow]
		}
	}), a
}

// quiet checks that nothing was sent.
func (i *instance) quiet() {
	i.t.Helper()
	select {
	case x := <-i.sip.out:
		i.t.Fatalf("sent %s to %s", x.msg.Method, x.leg)
	default:
	}
}

// endedByUs answers both BYEs and returns their Reasons.
func (i *instance) endedByUs() (reasons []string) {
	i.t.Helper()
	for _, leg := range []callcore.Leg{callcore.LegAccess, callcore.LegCore} {
		b := i.expectOut(leg, "BYE")
		reasons = append(reasons, b.msg.Get("Reason"))
		b.respond(200, "")
	}
	return reasons
}

func TestPCC01_PCC02_PCC03_PCC04_CallIsAuthorised(t *testing.T) {
	p, f := newPool(t), newPCF()
	i, _ := p.policed("m1", f)
	gate := make(chan struct{})
	f.set(func() { f.gate = gate })
	x := i.ask(callcore.LegAccess, request("INVITE", browserSDP), "fa")
	wait.Until(t, "the policy function is asked", func() bool { return len(f.facts()) == 1 })
	i.quiet() // nobody is alerted before the verdict
	first := f.facts()[0]
	if first.Status != policy.Preliminary || first.UE.String() != "192.0.2.10" || first.Call != i.Keys()[0] || first.ChargingID != first.Call || len(first.Media) != 1 {
		t.Errorf("asked %+v", first)
	}
	m := first.Media[0]
	if m.Number != 1 || m.Type != "audio" || m.Direction != policy.SendRecv || m.BandwidthDown == 0 || len(m.Flows) != 1 || m.Flows[0].Local.String() != "10.0.0.1:7430" || m.Flows[0].Remote.Type != "" ||
		!m.Codecs[0].Uplink || m.Codecs[0].Kind != "offer" || m.Codecs[0].SDP[0] != "m=audio 9 UDP/TLS/RTP/SAVPF 111 8 110 126" || m.Codecs[0].SDP[1] != "a=rtpmap:111 opus/48000/2" {
		t.Errorf("media %+v", m)
	}
	close(gate)
	out := i.expectOut(callcore.LegCore, "INVITE")
	out.respond(200, coreSDP(1, "sendonly"))
	i.expectOut(callcore.LegCore, "ACK")
	r := &running{t: t, answer: x.expect(200), invite: out, key: i.Keys()[0], seq: map[callcore.Leg]int{callcore.LegAccess: 1}}
	i.OnAck(callcore.LegAccess, r.in(callcore.LegAccess, "ACK", ""), "fa")
	wait.Until(t, "the answer is told", func() bool { return len(f.facts()) == 2 })
	final := f.facts()[1]
	if m := final.Media[0]; final.Status != policy.Final || m.Direction != policy.RecvOnly || m.BandwidthUp != 64_000+8*50*(20+8+12+16) {
		t.Errorf("told %+v", final)
	}
	i.Notify(&iqv1.NotifyRequest{CorrelationId: r.key, ContextId: "cx1", Events: []*iqv1.ObservedEvent{{Type: iqv1.EventType_EVENT_TYPE_ICE_RESULT,
		Params: map[string]string{"result": "connected"}, Local: &iqv1.Candidate{Address: "10.0.0.1", Port: 7430, Transport: "udp", Type: "host"},
		Remote: &iqv1.Candidate{Address: "198.51.100.7", Port: 41000, Transport: "udp", Type: "prflx"}}}})
	wait.Until(t, "the pair is told", func() bool { return len(f.facts()) == 3 })
	if c := f.facts()[2].Media[0].Flows[0].Remote; c.Type != "prflx" || c.Addr.String() != "198.51.100.7:41000" {
		t.Errorf("candidate %+v", c)
	}
	i.connected(r.key)
	i.hangUp(r)
	f.left(t, 1)
	if n := len(f.facts()); n != 3 {
		t.Errorf("told %d times", n)
	}
}

func TestMO08_PCC06_RefusedBeforeAnybodyIsAlerted(t *testing.T) {
	for _, c := range []struct {
		name   string
		no     *policy.Refusal
		status int
		retry  string
		body   string
	}{
		{"overload", &policy.Refusal{Verdict: policy.Overload, Status: 503, RetryAfter: 6500 * time.Millisecond}, 503, "7", ""},
		{"forbidden", &policy.Refusal{Verdict: policy.Forbidden, Status: 403}, 403, "", ""},
		{"narrower media", &policy.Refusal{Verdict: policy.NotAcceptable, Status: 488, Acceptable: &policy.Acceptable{Up: 99_000, Media: map[int]policy.Bandwidth{1: {Up: 48_000, Down: 64_000}}}}, 488, "", "b=AS:48\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, f := newPool(t), newPCF()
			f.say = func(policy.Facts) error { return c.no }
			i, _ := p.policed("m1", f)
			m := i.ask(callcore.LegAccess, request("INVITE", browserSDP), "fa").expect(c.status)
			if m.Get("Retry-After") != c.retry || !strings.Contains(string(m.Body), c.body) || c.body == "" && len(m.Body) > 0 {
				t.Errorf("%+v\n%s", m.Fields, m.Body)
			}
			i.gone()
			i.quiet()
			f.left(t, 0)
		})
	}
}

func TestPCC02_CallToABrowserIsAuthorisedToo(t *testing.T) {
	p, f := newPool(t), newPCF()
	f.say = func(policy.Facts) error { return &policy.Refusal{Verdict: policy.Forbidden, Status: 403} }
	i, _ := p.policed("m1", f)
	m := request("INVITE", coreSDP(1, "sendonly"))
	m.Set("Route", "<sip:path-bob@mgc.example:5070;lr>")
	m.Add("P-Charging-Vector", `icid-value="abc";orig-ioi=other`)
	i.ask(callcore.LegCore, m, "").expect(403)
	i.gone()
	i.quiet()
	if got := f.facts(); len(got) != 1 || got[0].UE.String() != "192.0.2.11" || got[0].ChargingID != "abc" || got[0].Media[0].Direction != policy.RecvOnly {
		t.Errorf("asked %+v", got)
	}
}

func TestPCC06_RefusalAfterTheAnswer(t *testing.T) {
	for _, c := range []struct {
		name string
		no   *policy.Refusal
		ends bool
	}{
		{"the media are not authorised", &policy.Refusal{Verdict: policy.Forbidden, Status: 403}, true},
		{"overload ends no conversation", &policy.Refusal{Verdict: policy.Overload, Status: 503}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, f := newPool(t), newPCF()
			f.say = func(f policy.Facts) error {
				if f.Status == policy.Final {
					return c.no
				}
				return nil
			}
			i, _ := p.policed("m1", f)
			if !c.ends {
				i.hangUp(i.establish())
				f.left(t, 1)
				return
			}
			x := i.ask(callcore.LegAccess, request("INVITE", browserSDP), "fa")
			out := i.expectOut(callcore.LegCore, "INVITE")
			out.respond(200, coreSDP(1, "sendrecv"))
			i.expectOut(callcore.LegCore, "ACK")
			r := &running{t: t, answer: x.expect(200), invite: out, seq: map[callcore.Leg]int{callcore.LegAccess: 1}}
			i.OnAck(callcore.LegAccess, r.in(callcore.LegAccess, "ACK", ""), "fa")
			got := map[callcore.Leg]string{}
			for range 2 { // the browser's waits for its ACK
				b := <-i.sip.out
				got[b.leg] = b.msg.Method + " " + b.msg.Get("Reason")
				b.respond(200, "")
			}
			if want := `BYE SIP;cause=403;text="Media not authorised"`; got[callcore.LegAccess] != want || got[callcore.LegCore] != want {
				t.Errorf("sent %v", got)
			}
			i.gone()
			f.left(t, 1)
		})
	}
}

// A caller who gives up before the verdict alerts nobody, and what the policy function makes is given up.
func TestPCC06_CancelWhileTheVerdictIsOut(t *testing.T) {
	p, f := newPool(t), newPCF()
	gate := make(chan struct{})
	f.gate = gate
	i, _ := p.policed("m1", f)
	x := i.ask(callcore.LegAccess, request("INVITE", browserSDP), "fa")
	wait.Until(t, "the policy function is asked", func() bool { return len(f.facts()) == 1 })
	i.OnCancel(callcore.LegAccess, x, headers.Msg{Method: "CANCEL"})
	x.expect(487)
	i.gone()
	i.quiet()
	f.left(t, 0)
}

// The verdict meets the end of the call in every order; the application session never stays.
func TestPCC06_VerdictRacesWithTheEnd(t *testing.T) {
	p, f := newPool(t), newPCF()
	i, _ := p.policed("m1", f)
	for n := range 60 {
		gate := make(chan struct{})
		f.set(func() { f.gate = gate })
		x := i.ask(callcore.LegAccess, request("INVITE", browserSDP), "fa")
		wait.Until(t, "the policy function is asked", func() bool { return len(f.facts()) == n+1 })
		var both sync.WaitGroup
		both.Go(func() { close(gate) })
		both.Go(func() { i.OnCancel(callcore.LegAccess, x, headers.Msg{Method: "CANCEL"}) })
		both.Wait()
		x.expect(487)
		wait.Until(t, "the call has ended", func() bool {
			select {
			case out := <-i.sip.out:
				out.respond(487, "") // the INVITE was faster
			default:
			}
			i.mu.Lock()
			defer i.mu.Unlock()
			return len(i.calls)+len(i.ending) == 0
		})
		i.gone()
		f.set(func() {
			if len(f.open) != 0 || len(f.deleted) != f.next {
				t.Fatalf("run %d: %d made, left %v, deleted %v", n, f.next, f.open, f.deleted)
			}
		})
	}
}

func TestPCC05_PCC06_REL02_PolicyFunctionEndsTheCall(t *testing.T) {
	for _, c := range []struct {
		ev   policy.Event
		ends string
	}{
		{policy.Event{Kind: policy.Terminated, Cause: "PDU_SESSION_TERMINATION"}, "Policy function ended the session"},
		{policy.Event{Kind: policy.ResourcesFailed, Media: []int{1}}, "Media bearer lost"},
		{policy.Event{Kind: policy.ResourcesFailed}, "Media bearer lost"},
		{policy.Event{Kind: policy.OutOfCredit, Cause: "TERMINATE"}, "Out of credit"},
		{policy.Event{Kind: policy.ResourcesFailed, Media: []int{2}}, ""},
		{policy.Event{Kind: policy.QoSLost}, ""},
		{policy.Event{Kind: policy.OutOfCredit, Cause: "RESTRICT_ACCESS"}, ""},
	} {
		t.Run(string(c.ev.Kind)+c.ends, func(t *testing.T) {
			p, f := newPool(t), newPCF()
			i, a := p.policed("m1", f)
			r := i.establish()
			ev := c.ev
			ev.Call, ev.Resource = r.key, "http://other-name/npcf-policyauthorization/v1/app-sessions/1"
			a.events <- ev
			if c.ends == "" {
				const other = "http://pcf/npcf-policyauthorization/v1/app-sessions/99" // not this call's
				f.set(func() { f.open[other] = policy.Facts{} })
				a.events <- policy.Event{Call: r.key, Kind: policy.Terminated, Resource: other}
				wait.Until(t, "both events are taken", func() bool { f.mu.Lock(); defer f.mu.Unlock(); return f.deleted[other] == 1 })
				i.quiet()
				f.set(func() { delete(f.deleted, other) })
				i.hangUp(r)
				f.left(t, 1)
				return
			}
			a.events <- ev // told twice
			for _, reason := range i.endedByUs() {
				if reason != `SIP;cause=503;text="`+c.ends+`"` {
					t.Errorf("Reason %s", reason)
				}
			}
			i.gone()
			f.left(t, 1)
		})
	}
}

// What no call has is given up, also while the call itself has another one.
func TestPCC06_OrphanedApplicationSession(t *testing.T) {
	p, f := newPool(t), newPCF()
	i, a := p.policed("m1", f)
	r := i.establish()
	const orphan = "http://pcf/npcf-policyauthorization/v1/app-sessions/77"
	for _, call := range []string{newKey(), r.key} {
		f.set(func() { f.open[orphan] = policy.Facts{}; delete(a.gone, orphan); delete(f.deleted, orphan) })
		a.events <- policy.Event{Call: call, Resource: orphan, Kind: policy.ResourcesAllocated}
		wait.Until(t, "the orphan is deleted", func() bool { f.mu.Lock(); defer f.mu.Unlock(); return f.deleted[orphan] == 1 })
	}
	i.hangUp(r)
}

// A successor goes on with the application session, tells nothing that is known, and gives it up once.
func TestPCC06_SuccessorKeepsTheApplicationSession(t *testing.T) {
	p, f := newPool(t), newPCF()
	a, _ := p.policed("a", f)
	r := a.establish()
	wait.Until(t, "the answer is told and stored", func() bool {
		return len(f.facts()) == 2 && strings.Contains(string(p.records()[0].Value.Beside), `"told":"`+digest(f.facts()[1]))
	})
	a.kill()
	b, events := p.policed("b", f)
	events.events <- policy.Event{Call: r.key, Resource: "http://pcf/npcf-policyauthorization/v1/app-sessions/1", Kind: policy.Terminated, Cause: "X"}
	b.endedByUs()
	b.gone()
	f.left(t, 1)
	if n := len(f.facts()); n != 2 {
		t.Errorf("told %d times", n)
	}
}

// A browser that comes back from elsewhere is told of with its new address.
func TestPCC03_NewAddressOfTheBrowser(t *testing.T) {
	p, f := newPool(t), newPCF()
	i, _ := p.policed("m1", f)
	r := i.establish()
	wait.Until(t, "the answer is told", func() bool { return len(f.facts()) == 2 })
	i.bind.set("alice", "")
	i.FlowLost("alice")
	i.bind.set("alice", "fa2")
	i.FlowBack("alice")
	wait.Until(t, "the new address is told", func() bool { return len(f.facts()) == 3 })
	if ue := f.facts()[2].UE.String(); ue != "192.0.2.20" {
		t.Errorf("UE %s", ue)
	}
	i.ask(callcore.LegAccess, r.in(callcore.LegAccess, "BYE", ""), "fa2").expect(200)
	i.expectOut(callcore.LegCore, "BYE").respond(200, "")
	i.gone()
	f.left(t, 1)
}

func TestPCC07_ForksAreTold(t *testing.T) {
	p, f := newPool(t), newPCF()
	i, _ := p.policed("m1", f)
	x := i.ask(callcore.LegAccess, request("INVITE", browserSDP), "fa")
	out := i.expectOut(callcore.LegCore, "INVITE")
	fork := func(tag string, direction string) {
		m := headers.NewResponse(&out.msg, 183, "")
		m.Set("To", m.Get("To")+";tag="+tag)
		m.Add("Contact", "<sip:peer@10.0.0.7:5060>")
		m.Add("Content-Type", "application/sdp")
		m.Body = []byte(coreSDP(1, direction))
		out.deliver(Outcome{Msg: m})
		x.expect(183)
	}
	fork("t1", "sendonly")
	fork("t2", "sendrecv")
	wait.Until(t, "the forks are told", func() bool { return len(f.facts()) == 2 })
	got := f.facts()[1]
	if got.Status != policy.Preliminary || len(got.Forks) != 1 || got.Forks[0][0].Direction != policy.RecvOnly || got.Media[0].Direction != policy.SendRecv {
		t.Errorf("told %+v", got)
	}
	out.respond(486, "")
	x.expect(486)
	i.gone()
	f.left(t, 1)
}

// A mistake of ours, or the end of the agent, stops no call.
func TestPCC01_CallGoesOnWhenTheAgentCannotBeAsked(t *testing.T) {
	p, f := newPool(t), newPCF()
	f.say = func(policy.Facts) error { return errors.Join(policy.ErrFacts) }
	i, _ := p.policed("m1", f)
	i.hangUp(i.establish())
	f.left(t, 0)
}
