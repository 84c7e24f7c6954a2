package call

import (
	"context"
	"encoding/json"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/store"
)

// Replaces names a dialog as the peers of one leg know it (RFC 3891). When it crosses to the other leg it has to name the dialog that
// the call has there. Both legs' tags of ours carry the call, so it is found from the field itself.

// counterpart returns r as the peer of the opposite leg knows the dialog: our tag stands in to-tag, in a Replaces that is sent to us as
// in one that a peer hands on in a REFER, where ours is the remote tag of its dialog. Clients that write the tags as in the INVITE
// of a call that they got, JsSIP among them, have it in from-tag. False: the dialog is none of ours.
func (m *Manager) counterpart(r headers.Replaces, leg callcore.Leg) (headers.Replaces, callcore.DialogID, bool) {
	key, l, err := open(m.deps.Sealer, r.ToTag)
	theirs := r.FromTag
	if err != nil {
		key, l, err = open(m.deps.Sealer, r.FromTag)
		theirs = r.ToTag
	}
	if err != nil || l != leg {
		return r, callcore.DialogID{}, false
	}
	ids, ok := m.dialogs(key)
	if !ok || ids[leg].CallID != r.CallID || ids[leg].RemoteTag != theirs {
		return r, callcore.DialogID{}, false
	}
	o := ids[leg.Other()]
	if o.CallID == "" || o.RemoteTag == "" {
		return r, o, false
	}
	return headers.Replaces{CallID: o.CallID, ToTag: o.RemoteTag, FromTag: o.LocalTag, EarlyOnly: r.EarlyOnly}, o, true
}

// dialogs returns both dialogs of a call, of this instance or of another one of the pool.
func (m *Manager) dialogs(key string) ([2]callcore.DialogID, bool) {
	m.mu.Lock()
	o := m.calls[key]
	m.mu.Unlock()
	if o != nil {
		ids := o.dialogs.Load()
		if ids == nil {
			return [2]callcore.DialogID{}, false
		}
		return *ids, true
	}
	ctx, cancel := context.WithTimeout(m.ctx, 2*time.Second)
	defer cancel()
	e, err := m.table.Get(ctx, store.Key(key))
	if err != nil {
		return [2]callcore.DialogID{}, false
	}
	state := &callcore.State{}
	if json.Unmarshal(e.Value.State, state) != nil {
		return [2]callcore.DialogID{}, false
	}
	return state.Dialogs(), true
}

// translateReferTo makes the Refer-To of an attended transfer name the dialog that the other leg knows (RFC 5589 §7): a browser that
// transfers one of its calls to the other knows both only by their access legs. Anything else stays as it is.
func (m *Manager) translateReferTo(leg callcore.Leg, req *headers.Msg) {
	a, err := headers.ParseAddress(req.Get("Refer-To"))
	if err != nil {
		return
	}
	u, err := headers.ParseURI(a.URI)
	if err != nil {
		return
	}
	r, bare, ok := headers.ReplacesIn(u)
	if !ok {
		return
	}
	there, dialog, ok := m.counterpart(r, leg)
	if !ok {
		return
	}
	if m.isOurs(bare.Host, bare.Port) { // our Contact: the other leg reaches the party itself
		if t, err := headers.ParseURI(dialog.Target); err == nil {
			bare = t
		}
	}
	a.URI = headers.WithReplaces(bare, there).String()
	req.Set("Refer-To", a.String())
}

// translateReplaces makes the Replaces of an INVITE name the dialog that the other leg knows. False: it names none of ours
// (RFC 3891 §3: 481).
func (m *Manager) translateReplaces(leg callcore.Leg, req *headers.Msg) bool {
	if leg != callcore.LegCore || !req.Has("Replaces") { // a browser's names a dialog of the core, as a REFER told it
		return true
	}
	r, err := headers.ParseReplaces(req.Get("Replaces"))
	if err != nil {
		return false
	}
	there, _, ok := m.counterpart(r, leg)
	if !ok {
		return false
	}
	req.Set("Replaces", there.String())
	return true
}
