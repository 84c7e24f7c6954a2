package democore

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"github.com/isthmus-gateway/isthmus/integration/internal/ua/sipnode"
)

// maxBindings per user; the oldest gives way.
const maxBindings = 10

// binding is one address of record's Contact (RFC 3261 §10) with its Path (RFC 3327).
type binding struct {
	key     string // instance and reg-id (RFC 5626 §6), else the Contact URI
	contact sip.Uri
	path    []sip.Uri
	expires time.Time
	since   time.Time
	source  sipnode.Target // where the REGISTER came from
	callID  string
	cseq    uint32
}

// route is where requests for the binding go first: the top Path URI, else the Contact. A Contact that
// names no address (.invalid) without Path is reached where its REGISTER came from.
func (b *binding) route() (sipnode.Target, error) {
	if len(b.path) > 0 {
		return sipnode.TargetOf(&b.path[0])
	}
	if t, err := sipnode.TargetOf(&b.contact); err == nil {
		return t, nil
	}
	return b.source, nil
}

// registerChange is one Contact of a REGISTER with the expiry granted; 0 removes.
type registerChange struct {
	b       *binding
	expires time.Duration
}

// serveRegister is RFC 3261 §10.3, each step a function.
func (c *Core) serveRegister(tx *sipnode.ServerTx) {
	req := tx.Request()
	user, ok := c.admitRegister(tx)
	if !ok {
		return
	}
	changes, all, ok := c.readContacts(tx)
	if !ok {
		return
	}
	now := time.Now()
	c.mu.Lock()
	if all {
		for _, b := range c.bindingsLocked(user, now) {
			changes = append(changes, registerChange{b: &binding{key: b.key, contact: b.contact}})
		}
	}
	if !c.orderedLocked(user, req) {
		c.mu.Unlock()
		tx.Reply(500, "Server Internal Error")
		return
	}
	lines := c.applyLocked(user, changes, now)
	res := c.registeredLocked(user, tx, now)
	c.mu.Unlock()
	for _, l := range lines {
		c.logf("%s", l)
	}
	tx.Respond(res)
}

// admitRegister checks extension, domain and identity; it answers when it says no.
func (c *Core) admitRegister(tx *sipnode.ServerTx) (string, bool) {
	req := tx.Request()
	for _, h := range req.GetHeaders("Require") {
		for _, tag := range strings.Split(h.Value(), ",") {
			if t := strings.ToLower(strings.TrimSpace(tag)); t != "path" && t != "outbound" {
				tx.Reply(420, "Bad Extension", sip.NewHeader("Unsupported", t))
				return "", false
			}
		}
	}
	if !c.isDomain(&req.Recipient) || !c.isDomain(&req.To().Address) {
		tx.Reply(404, "Not Found")
		c.logf("REGISTER  for foreign domain %q from %s: 404", req.To().Address.Host, tx.Source())
		return "", false
	}
	user, v := c.auth.vouched(req, tx.Source().Addr.Addr())
	if v == authMissing {
		user, v = c.auth.check(req, "Authorization", time.Now())
	}
	if v != authGood {
		tx.Reply(401, "Unauthorized", c.auth.challenges("WWW-Authenticate", v == authStale, time.Now())...)
		if v == authWrong {
			c.logf("REGISTER  %q from %s: wrong password or unknown user, 401", req.To().Address.User, tx.Source())
		}
		return "", false
	}
	if req.To().Address.User != user {
		tx.Reply(403, "Forbidden")
		c.logf("REGISTER  %s tried to register %q: 403", user, req.To().Address.User)
		return "", false
	}
	return user, true
}

// readContacts takes the Contacts and their expiry out of a REGISTER; it answers when it says no. all
// means "Contact: *", to be given with expiry 0 only.
func (c *Core) readContacts(tx *sipnode.ServerTx) (changes []registerChange, all, ok bool) {
	req := tx.Request()
	common := c.cfg.MaxExpires
	if h := req.GetHeader("Expires"); h != nil {
		common = seconds(h.Value(), c.cfg.MaxExpires)
	}
	path := pathOf(req)
	for _, h := range req.GetHeaders("Contact") {
		ct, isContact := h.(*sip.ContactHeader)
		if !isContact || ct.Address.Wildcard {
			if common != 0 || len(req.GetHeaders("Contact")) != 1 {
				tx.Reply(400, "Contact * needs Expires 0")
				return nil, false, false
			}
			return nil, true, true
		}
		d := common
		if v, has := ct.Params.Get("expires"); has {
			d = seconds(v, common)
		}
		if d > 0 && d < c.cfg.MinExpires {
			tx.Reply(423, "Interval Too Brief", sip.NewHeader("Min-Expires", strconv.Itoa(int(c.cfg.MinExpires/time.Second))))
			return nil, false, false
		}
		b := &binding{
			key: bindingKey(ct), contact: *ct.Address.Clone(), path: path, source: tx.Source(),
			callID: req.CallID().Value(), cseq: req.CSeq().SeqNo,
		}
		changes = append(changes, registerChange{b, min(d, c.cfg.MaxExpires)})
	}
	return changes, false, true
}

func seconds(v string, otherwise time.Duration) time.Duration {
	n, err := strconv.ParseUint(strings.TrimSpace(v), 10, 32)
	if err != nil {
		return otherwise
	}
	return time.Duration(n) * time.Second
}

// bindingKey tells registrations of one client apart from those of another: by instance and reg-id
// where RFC 5626 §6 is in use, so that a reloaded page replaces its old binding.
func bindingKey(ct *sip.ContactHeader) string {
	instance, _ := ct.Params.Get("+sip.instance")
	reg, _ := ct.Params.Get("reg-id")
	if instance != "" && reg != "" {
		return instance + "|" + reg
	}
	return ct.Address.String()
}

func pathOf(req *sip.Request) []sip.Uri {
	var uris []sip.Uri
	for _, s := range sipnode.URIs(req, "Path") {
		var u sip.Uri
		if sip.ParseUri(s, &u) == nil {
			uris = append(uris, u)
		}
	}
	return uris
}

// orderedLocked refuses a REGISTER overtaken by a later one of the same client (§10.3 step 7).
func (c *Core) orderedLocked(user string, req *sip.Request) bool {
	for _, b := range c.bindings[user] {
		if b.callID == req.CallID().Value() && req.CSeq().SeqNo <= b.cseq {
			return false
		}
	}
	return true
}

func (c *Core) applyLocked(user string, changes []registerChange, now time.Time) []string {
	var lines []string
	for _, ch := range changes {
		list := c.bindings[user]
		i := slices.IndexFunc(list, func(b *binding) bool { return b.key == ch.b.key })
		ch.b.since, ch.b.expires = now, now.Add(ch.expires)
		what := "registered"
		if i >= 0 {
			ch.b.since, what = list[i].since, "refreshed"
			list = slices.Delete(list, i, i+1)
		}
		if ch.expires == 0 {
			lines = append(lines, fmt.Sprintf("REGISTER  %s de-registered %q", user, ch.b.contact.String()))
		} else {
			list = append(list, ch.b)
			lines = append(lines, fmt.Sprintf("REGISTER  %s %s for %s at %q, path %q", user, what, ch.expires, ch.b.contact.String(), join(ch.b.path)))
		}
		if len(list) > maxBindings {
			list = list[1:]
		}
		c.bindings[user] = list
	}
	return lines
}

func join(uris []sip.Uri) string {
	var s []string
	for i := range uris {
		s = append(s, uris[i].String())
	}
	return strings.Join(s, ", ")
}

// registeredLocked builds the 200: all current Contacts, Path echoed (RFC 3327 §5.3), Service-Route
// (RFC 3608 §6.3, over the network in use) and P-Associated-URI (RFC 7315 §4.1).
func (c *Core) registeredLocked(user string, tx *sipnode.ServerTx, now time.Time) *sip.Response {
	req := tx.Request()
	res := sipnode.NewResponse(req, 200, "OK")
	outbound := false
	for _, b := range c.bindingsLocked(user, now) {
		ct := &sip.ContactHeader{Address: *b.contact.Clone(), Params: sip.NewParams()}
		left := int((b.expires.Sub(now) + time.Second - 1) / time.Second)
		if instance, reg, ok := strings.Cut(b.key, "|"); ok {
			ct.Params.Add("+sip.instance", instance)
			ct.Params.Add("reg-id", reg)
			outbound = outbound || b.callID == req.CallID().Value()
		}
		ct.Params.Add("expires", strconv.Itoa(left))
		res.AppendHeader(ct)
	}
	for _, h := range req.GetHeaders("Path") {
		res.AppendHeader(sip.NewHeader("Path", h.Value()))
	}
	if outbound {
		res.AppendHeader(sip.NewHeader("Require", "outbound")) // RFC 5626 §6
	}
	sr := c.ownURI(tx.Source().Network)
	sr.User = originating
	res.AppendHeader(sip.NewHeader("Service-Route", "<"+sr.String()+">"))
	res.AppendHeader(sip.NewHeader("P-Associated-URI", "<sip:"+user+"@"+c.cfg.Domain+">"))
	return res
}

// bindingsLocked lists the unexpired bindings of user, newest first, and forgets the others.
func (c *Core) bindingsLocked(user string, now time.Time) []*binding {
	list := slices.DeleteFunc(c.bindings[user], func(b *binding) bool { return !b.expires.After(now) })
	if len(list) == 0 {
		delete(c.bindings, user)
		return nil
	}
	c.bindings[user] = list
	out := slices.Clone(list)
	slices.SortStableFunc(out, func(a, b *binding) int { return cmp.Compare(b.since.UnixNano(), a.since.UnixNano()) })
	return out
}
