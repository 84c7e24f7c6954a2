package registrar

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptransport"
)

// watcher is a fixture whose core grants subscriptions.
type watcher struct {
	*fixture
	asked  []headers.Msg
	status int
	closed []string
}

func watch(f *fixture) *watcher {
	w := &watcher{fixture: f.asIMS(), status: 200}
	f.cfg.RegEvent = true
	f.deps.CloseFlow = func(flow, _ string) { w.closed = append(w.closed, flow) }
	f.deps.Request = func(req headers.Msg, deliver func(Outcome)) error {
		f.mu.Lock() // the sweeper's goroutine refreshes
		w.asked = append(w.asked, req)
		m := headers.NewResponse(&req, w.status, "")
		f.mu.Unlock()
		if headers.ToTag(&m) == "" {
			m.Set("To", m.Get("To")+";tag=scscf")
		}
		m.Add("Contact", "<sip:scscf.example:6060>")
		m.Add("Expires", "3600")
		m.Add("Record-Route", "<sip:p2.example;lr>")
		m.Add("Record-Route", "<sip:p1.example;lr>")
		deliver(Outcome{Msg: m})
		return nil
	}
	return w
}

// notify sends a NOTIFY in the subscription that m began, and returns its answer.
func (w *watcher) notify(m *headers.Msg, body string, change ...string) headers.Msg {
	contact, err := headers.ParseAddress(m.Get("Contact"))
	if err != nil {
		w.t.Fatal(err)
	}
	n := headers.Msg{Method: "NOTIFY", RequestURI: contact.URI, Body: []byte(body)}
	for _, h := range append([]string{"From: <sip:alice@x.example>;tag=scscf", "To: " + m.Get("From"), "Call-ID: " + m.Get("Call-ID"), "CSeq: 1 NOTIFY",
		"Event: reg", "Subscription-State: active;expires=600", "Content-Type: application/reginfo+xml"}, change...) {
		name, v, _ := strings.Cut(h, ": ")
		n.Set(name, v)
	}
	binding, ok := w.IsRegContact(n.RequestURI)
	if !ok {
		w.t.Fatalf("%s is no contact of ours", n.RequestURI)
	}
	x := &tx{}
	w.OnNotify(x, n, binding)
	return x.got[0]
}

func reginfoOf(state, event string) string {
	return `<?xml version="1.0"?><reginfo xmlns="urn:ietf:params:xml:ns:reginfo" version="1" state="full"><registration aor="sip:alice@x.example" id="1" state="active">` +
		`<contact id="1" state="` + state + `" event="` + event + `"><uri>sip:alice@s1.invalid;transport=ws</uri></contact></registration></reginfo>`
}

func TestREG25_R3680_TheNetworkEndsARegistration(t *testing.T) {
	run(t, func(t *testing.T, f *fixture) {
		w := watch(f)
		flow := siptransport.Flow{ID: "s1", Transport: "WSS"}
		w.send(flow)
		if len(w.asked) != 1 {
			t.Fatalf("%d subscriptions", len(w.asked))
		}
		m := w.asked[0]
		if m.Method != "SUBSCRIBE" || m.RequestURI != "sip:alice@x.example" || m.Get("Route") != "<sip:orig@core.example;lr>" || m.Get("Event") != "reg" ||
			m.Get("P-Asserted-Identity") != "<sip:mgc.example:5070>" || m.Get("Accept") != "application/reginfo+xml" || !m.Has("P-Charging-Vector") {
			t.Errorf("SUBSCRIBE %+v", m)
		}
		w.send(flow)
		if len(w.asked) != 1 {
			t.Error("subscribed again at the re-registration")
		}
		if r := w.notify(&m, reginfoOf("active", "registered")); r.Status != 200 || len(w.All()) != 1 {
			t.Errorf("%d, %d bindings", r.Status, len(w.All()))
		}
		for name, c := range map[string]struct {
			status int
			change string
			body   string
		}{
			"another dialog":  {481, "Call-ID: x", reginfoOf("terminated", "rejected")},
			"another tag":     {481, "From: <sip:alice@x.example>;tag=evil", reginfoOf("terminated", "rejected")},
			"another package": {489, "Event: presence", reginfoOf("terminated", "rejected")},
			"another type":    {415, "Content-Type: text/plain", reginfoOf("terminated", "rejected")},
			"garbage":         {400, "Event: reg", "<x"},
		} {
			if r := w.notify(&m, c.body, c.change); r.Status != c.status || len(w.All()) != 1 {
				t.Errorf("%s: %d, %d bindings", name, r.Status, len(w.All()))
			}
		}
		if r := w.notify(&m, reginfoOf("terminated", "deactivated")); r.Status != 200 {
			t.Errorf("%d %s", r.Status, r.Reason)
		}
		if len(w.All()) != 0 || len(w.told(&w.gone)) != 1 || len(w.closed) != 1 || w.closed[0] != "s1" {
			t.Errorf("%d bindings, closed %q", len(w.All()), w.closed)
		}
	})
}

// subscriptions returns the SUBSCRIBE requests so far.
func (w *watcher) subscriptions() []headers.Msg {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.asked)
}

func TestREG25_SubscriptionIsRefreshed(t *testing.T) {
	run(t, func(t *testing.T, f *fixture) {
		w := watch(f)
		w.answer = func(req *headers.Msg) Outcome {
			req.Set("Expires", "10800")
			return granted(req)
		}
		w.send(siptransport.Flow{ID: "s1", Transport: "WSS"})
		time.Sleep(time.Hour - 20*time.Second) // synctest: the clock is the test's
		if asked := w.subscriptions(); len(w.told(&w.gone)) != 0 || len(asked) != 2 {
			t.Fatalf("%d subscriptions after an hour", len(asked))
		}
		m := w.subscriptions()[1]
		if m.RequestURI != "sip:scscf.example:6060" || strings.Join(headers.List(&m, "Route"), " ") != "<sip:p1.example;lr> <sip:p2.example;lr>" || headers.ToTag(&m) != "scscf" || !strings.HasPrefix(m.Get("CSeq"), "2 ") {
			t.Errorf("refresh %+v", m)
		}
		w.mu.Lock()
		w.status = 481 // the notifier has forgotten it: a new one
		w.mu.Unlock()
		time.Sleep(time.Hour)
		asked := w.subscriptions()
		if n := len(asked); n < 4 || headers.ToTag(&asked[3]) != "" || asked[3].Get("Call-ID") == m.Get("Call-ID") {
			t.Errorf("%d subscriptions", n)
		}
	})
}

func TestREG25_RefusedSubscriptionIsTriedAgain(t *testing.T) {
	run(t, func(t *testing.T, f *fixture) {
		w := watch(f)
		w.status = 503
		flow := siptransport.Flow{ID: "s1", Transport: "WSS"}
		w.send(flow)
		w.send(flow)
		if n := len(w.subscriptions()); n != 1 {
			t.Fatalf("%d subscriptions at once", n)
		}
		time.Sleep(61 * time.Second) // synctest: the clock is the test's
		w.mu.Lock()
		w.status = 200
		w.mu.Unlock()
		w.send(flow)
		asked := w.subscriptions()
		if len(asked) != 2 || headers.ToTag(&asked[1]) != "" || asked[1].Get("Call-ID") == asked[0].Get("Call-ID") {
			t.Fatalf("%d subscriptions", len(asked))
		}
		if r := w.notify(&asked[1], reginfoOf("active", "registered")); r.Status != 200 {
			t.Errorf("NOTIFY: %d", r.Status)
		}
	})
}
