package flow

import (
	"slices"
	"strings"

	"github.com/isthmus-gateway/isthmus/mgw/internal/dtls"
)

// association is what makes two DTLS associations different ones: a change of any part is a new association (RFC 8842 §3.1).
type association struct {
	role   Role // ours
	prints []Fingerprint
	tlsID  string // the peer's; "": it uses none
}

func (x association) same(y association) bool {
	return x.role == y.role && x.tlsID == y.tlsID && len(x.prints) == len(y.prints) &&
		!slices.ContainsFunc(x.prints, func(f Fingerprint) bool {
			return !slices.ContainsFunc(y.prints, func(g Fingerprint) bool { return equalPrint(f, g) })
		})
}

func equalPrint(a, b Fingerprint) bool {
	return strings.EqualFold(a.Hash, b.Hash) && strings.EqualFold(a.Value, b.Value)
}

// with is the association that a remote description asks for.
func (x association) with(r AccessRemote) association {
	if r.Role != 0 {
		x.role = r.Role
	}
	if len(r.Fingerprints) > 0 {
		x.prints, x.tlsID = slices.Clone(r.Fingerprints), r.TLSID
	}
	return x
}

// setPeer starts a DTLS association unless the present one is wanted on. The present one serves until the new handshake has ended, and
// comes back when the description that asked for another is taken back by then (RFC 3264 §8). Whether the handshake's end or that comes first is chance
// when both are at once: the association before is therefore kept as long as its keys are, keyOverlap longer. Caller holds mu.
func (a *Access) setPeer(r AccessRemote) {
	want := a.peer.with(r)
	if want.same(a.peer) {
		return
	}
	a.peer = want
	if want.role == 0 || len(want.prints) == 0 {
		return
	}
	if a.former != nil && a.former.of.same(want) && a.former.serves() {
		a.run.stop()
		a.run, a.former = a.former, nil
		a.w.alive(a.s.t, func() { a.s.resume(a.w.now, a.run) })
		return
	}
	var idle *handshake
	if a.run != nil && a.run.serves() {
		a.former, idle = a.run, a.former
	} else {
		idle = a.run // it has given no keys
	}
	h := newHandshake(want, dtls.NewLink(&a.e.pool, a.sendDTLS))
	a.run = h
	a.w.alive(a.s.t, func() { a.s.associate(a.w.now, h, a.former) })
	if idle != nil {
		idle.stop()
	}
	a.wg.Go(func() { a.runHandshake(h) })
}

// settled ends the association that run has taken the place of; nothing takes it back any more. Called by the worker; the work is done elsewhere.
func (a *Access) settled(run *handshake) { a.wg.Go(func() { a.endFormer(run) }) }

// endFormer ends the association before run, if run still is the present one.
func (a *Access) endFormer(run *handshake) {
	a.mu.Lock()
	var old *handshake
	if a.run == run {
		old, a.former = a.former, nil
	}
	a.mu.Unlock()
	if old != nil {
		old.stop()
	}
}
