package registrar

import (
	"crypto/rand"
	"fmt"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgc/internal/flowtoken"
	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/reginfo"
)

// The P-CSCF subscribes to the registration state of each user that registered through it (TS 24.229 §5.2.3, RFC 3680; REG-25), so that
// the network can end a registration. The subscription is part of the binding's record and its Contact a sealed token with the
// binding's id: any instance of the pool takes its NOTIFY, and whoever owns the binding refreshes it.

// subscribeFor is the duration asked for, TS 24.229 §5.2.3; the core's answer counts.
const subscribeFor = 600000 * time.Second

// Subscription is the dialog of the reg event of a binding (RFC 6665).
type Subscription struct {
	CallID    string    `json:"call_id"`
	LocalTag  string    `json:"local_tag"`
	RemoteTag string    `json:"remote_tag,omitempty"` // "" before the first answer
	Target    string    `json:"target,omitempty"`     // the notifier's Contact
	Routes    []string  `json:"routes,omitempty"`
	Seq       uint32    `json:"seq"`
	Until     time.Time `json:"until"` // it ends then, unless refreshed
}

// lives reports whether there is a subscription, or one that has been asked for lately.
func (s *Subscription) lives(now time.Time) bool { return s != nil && s.Until.After(now) }

// IsRegContact reports whether a Request-URI is the Contact of one of our subscriptions, and of which binding.
func (r *Registrar) IsRegContact(requestURI string) (binding string, ok bool) {
	u, err := headers.ParseURI(requestURI)
	if err != nil || u.User == "" {
		return "", false
	}
	id, err := r.deps.Sealer.Open(flowtoken.KindReg, u.User)
	return string(id), err == nil
}

// subscribe begins or refreshes the subscription of a binding of this instance.
func (r *Registrar) subscribe(b Binding) {
	if !r.cfg.RegEvent || r.deps.Request == nil {
		return
	}
	s := Subscription{CallID: strings.ToLower(rand.Text()), LocalTag: strings.ToLower(rand.Text())}
	if b.Sub != nil {
		s = *b.Sub
	}
	s.Seq++
	s.Until = time.Now().Add(time.Minute) // until the answer says more
	r.keep(b.ID, s)
	err := r.deps.Request(r.subscription(b, s), func(o Outcome) { r.subscribed(b.ID, s, o) })
	if err != nil {
		r.deps.Log.Info("reg event not subscribed", zap.Error(err))
	}
}

// subscription makes the SUBSCRIBE.
func (r *Registrar) subscription(b Binding, s Subscription) headers.Msg {
	user := b.Default
	if user == "" {
		user = b.AOR
	}
	m := headers.Msg{Method: "SUBSCRIBE", RequestURI: user}
	routes, to := b.ServiceRoute, "<"+user+">"
	if s.RemoteTag != "" {
		m.RequestURI, routes = s.Target, s.Routes
		to += ";tag=" + s.RemoteTag
	}
	for _, v := range routes {
		m.Add("Route", v)
	}
	us := "sip:" + r.cfg.PathHost
	m.Add("Max-Forwards", "70")
	m.Add("From", "<"+us+">;tag="+s.LocalTag)
	m.Add("To", to)
	m.Add("Call-ID", s.CallID)
	m.Add("CSeq", headers.CSeq{Seq: s.Seq, Method: "SUBSCRIBE"}.String())
	m.Add("Contact", "<sip:"+r.deps.Sealer.Seal(flowtoken.KindReg, []byte(b.ID))+"@"+r.cfg.PathHost+">")
	m.Add("Event", "reg")
	m.Add("Accept", reginfo.ContentType)
	m.Add("Expires", strconv.Itoa(int(subscribeFor.Seconds())))
	m.Add("P-Asserted-Identity", "<"+us+">")
	m.Fields = append(m.Fields, r.cfg.Trust.Charge(strings.ToLower(rand.Text()))...)
	return m
}

// subscribed takes the answer. A refresh that is refused with 481 begins anew, and is tried again after any other refusal. A subscription
// that did not come about is tried again with the next REGISTER, a minute later at the soonest.
func (r *Registrar) subscribed(binding string, s Subscription, o Outcome) {
	switch m := &o.Msg; {
	case m.Status >= 200 && m.Status < 300:
		s.RemoteTag = headers.ToTag(m)
		if a, err := headers.ParseAddresses(headers.List(m, "Contact")); err == nil && len(a) == 1 {
			s.Target = a[0].URI
		}
		if s.Routes == nil {
			s.Routes = reversed(headers.List(m, "Record-Route"))
		}
		life := subscribeFor
		if n, ok := headers.Expires(m); ok {
			life = min(life, time.Duration(n)*time.Second)
		}
		s.Until = time.Now().Add(life)
		r.metrics.regEvents.WithLabelValues("subscribed").Inc()
		r.keep(binding, s)
	case m.Status == 481 && s.RemoteTag != "":
		r.keep(binding, Subscription{})
		if b, ok := r.ByID(binding); ok {
			r.subscribe(b)
		}
	default:
		r.metrics.regEvents.WithLabelValues("refused").Inc()
		r.deps.Log.Info("reg event refused", zap.Int("status", m.Status))
	}
}

func reversed(in []string) []string {
	out := make([]string, 0, len(in))
	for i := len(in) - 1; i >= 0; i-- {
		out = append(out, in[i])
	}
	return out
}

// keep stores the subscription with its binding, as far as that is still there. One without Call-ID is none.
func (r *Registrar) keep(binding string, s Subscription) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.byID[binding]
	if b == nil {
		return
	}
	c := *b
	c.Sub = &s
	if s.CallID == "" {
		c.Sub = nil
	}
	r.setLocked(&c)
	if c.Owner == r.cfg.Instance {
		r.writeLocked(binding, &c)
	}
}

// refreshSubscriptions refreshes those of own bindings that end soon: within ten minutes, or the second half of a short one.
func (r *Registrar) refreshSubscriptions(now time.Time) {
	if !r.cfg.RegEvent {
		return
	}
	var due []Binding
	r.mu.Lock()
	for _, b := range r.byID {
		if b.Owner == r.cfg.Instance && b.Sub != nil && b.Sub.Until.Sub(now) < 30*time.Second && b.Sub.RemoteTag != "" {
			due = append(due, *b)
		}
	}
	r.mu.Unlock()
	for _, b := range due {
		r.subscribe(b)
	}
}

// OnNotify takes a NOTIFY to one of our subscription Contacts. It answers it, and ends what the network has ended.
func (r *Registrar) OnNotify(tx ServerTx, req headers.Msg, binding string) {
	b, ok := r.ByID(binding)
	s := b.Sub
	if !ok || s == nil || req.Get("Call-ID") != s.CallID || headers.ToTag(&req) != s.LocalTag || s.RemoteTag != "" && headers.FromTag(&req) != s.RemoteTag {
		r.refuse(tx, &req, 481, "")
		return
	}
	if !strings.EqualFold(strings.TrimSpace(strings.SplitN(req.Get("Event"), ";", 2)[0]), "reg") {
		r.refuse(tx, &req, 489, "Bad Event")
		return
	}
	var doc reginfo.Document
	if len(req.Body) > 0 {
		var err error
		if headers.MediaType(&req) != reginfo.ContentType {
			r.refuse(tx, &req, 415, "")
			return
		}
		if doc, err = reginfo.Parse(req.Body); err != nil {
			r.metrics.regEvents.WithLabelValues("malformed").Inc()
			r.refuse(tx, &req, 400, "Malformed reginfo")
			return
		}
	}
	if err := tx.Respond(headers.NewResponse(&req, 200, "")); err != nil {
		r.deps.Log.Debug("NOTIFY answer not sent", zap.Error(err))
	}
	r.metrics.regEvents.WithLabelValues("notified").Inc()
	if event, ended := endedBy(doc, b.Contact); ended {
		r.deps.Log.Info("registration ended by the network", zap.String("binding", binding), zap.String("event", headers.ForLog(event, 40)))
		r.metrics.results.WithLabelValues("ended_by_network").Inc()
		r.endByNetwork(b)
		return
	}
	if strings.HasPrefix(strings.ToLower(strings.TrimSpace(req.Get("Subscription-State"))), "terminated") {
		r.keep(binding, Subscription{})
	}
}

// endedBy reports whether the document ends the contact, and by which event.
func endedBy(d reginfo.Document, contact string) (event string, ended bool) {
	for _, reg := range d.Registrations {
		for _, c := range reg.Contacts {
			if c.Ended() && headers.EqualURI(c.URI, contact) {
				return c.Event, true
			}
		}
		if reg.State == "terminated" && len(reg.Contacts) == 0 {
			return "terminated", true
		}
	}
	return "", false
}

// endByNetwork ends the binding with its calls and closes the browser's connection, so that it notices (TS 24.229 §5.2.5.2).
func (r *Registrar) endByNetwork(b Binding) {
	r.remove(b.ID)
	if b.Owner == r.cfg.Instance && b.FlowID != "" && r.deps.CloseFlow != nil && len(r.OfFlow(b.FlowID)) == 0 {
		r.deps.CloseFlow(b.FlowID, fmt.Sprintf("registration of %s ended", b.AOR))
	}
}
