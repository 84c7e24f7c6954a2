package flow

import (
	"context"
	"errors"
	"strings"
	"sync"

	"github.com/isthmus-gateway/isthmus/mgw/internal/dtls"
	"github.com/isthmus-gateway/isthmus/mgw/internal/srtp"
)

// errReplaced ends a handshake that another has taken the place of, or whose termination closes.
var errReplaced = errors.New("flow: handshake given up")

// handshake is one DTLS association from its wish to its end. Its goroutine belongs to the Access.
type handshake struct {
	of     association
	client bool
	want   []dtls.Fingerprint
	link   *dtls.Link
	ctx    context.Context
	cancel context.CancelCauseFunc
	up     chan struct{} // closed when a pair is selected
	upOnce sync.Once

	// The keys, once the worker has them, which owns them. Nil: not yet.
	tx *srtp.Sender
	rx *srtp.Receiver

	mu      sync.Mutex // guards assoc, stopped, over
	assoc   *dtls.Association
	stopped bool
	over    bool // the association has ended
}

func newHandshake(of association, link *dtls.Link) *handshake {
	h := &handshake{of: of, client: of.role == RoleClient, link: link, up: make(chan struct{})}
	for _, p := range of.prints {
		h.want = append(h.want, dtls.Fingerprint(p))
	}
	h.ctx, h.cancel = context.WithCancelCause(context.Background())
	return h
}

// connected says that a pair is selected: a client may begin.
func (h *handshake) connected() { h.upOnce.Do(func() { close(h.up) }) }

// expire ends a handshake that takes too long; one that is done goes on.
func (h *handshake) expire() { h.cancel(dtls.ErrTimeout) }

// stop ends the handshake or the association; its goroutine ends soon.
func (h *handshake) stop() {
	h.mu.Lock()
	h.stopped = true
	assoc := h.assoc
	h.mu.Unlock()
	h.cancel(errReplaced)
	if assoc != nil {
		assoc.Close()
	}
}

// adopt keeps the association for stop; false when stop has come first.
func (h *handshake) adopt(a *dtls.Association) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopped {
		return false
	}
	h.assoc = a
	return true
}

// serves reports whether the handshake is done and its association goes on.
func (h *handshake) serves() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.assoc != nil && !h.stopped && !h.over
}

func (h *handshake) ended() {
	h.mu.Lock()
	h.over = true
	h.mu.Unlock()
}

// settle lets the association rest: the peer has been heard with its keys. It does not wait; false: not now.
func (h *handshake) settle() bool {
	if !h.mu.TryLock() {
		return false
	}
	defer h.mu.Unlock()
	return h.stopped || h.assoc.Settle()
}

func (h *handshake) isStopped() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.stopped
}

// runHandshake is the goroutine of h.
func (a *Access) runHandshake(h *handshake) {
	defer func() { _ = h.link.Close() }()
	if h.client {
		select {
		case <-h.up:
		case <-h.ctx.Done():
			return
		}
	}
	assoc, err := dtls.Handshake(h.ctx, dtls.Config{Client: h.client, Certificate: a.cert, Fingerprints: h.want, Profiles: profiles(), Link: h.link})
	if err != nil {
		if !h.isStopped() {
			a.post(func() { a.s.unsecured(h, DTLSFailed, printable(err.Error())) })
		}
		return
	}
	tx, rx, err := protect(assoc, h.client)
	if err != nil || !h.adopt(assoc) {
		assoc.Close()
		if err != nil {
			a.post(func() { a.s.unsecured(h, DTLSFailed, printable(err.Error())) })
		}
		return
	}
	a.post(func() { a.s.secured(a.w.now, h, srtp.Profile(assoc.Profile()), tx, rx) })
	assoc.Wait()
	h.ended()
	if !h.isStopped() {
		a.post(func() { a.s.unsecured(h, DTLSClosed, "closed by the peer") })
	}
	assoc.Close()
}

// profiles are those offered and accepted, best first (standards R5764).
func profiles() []uint16 {
	return []uint16{uint16(srtp.AES128GCM), uint16(srtp.AES256GCM), uint16(srtp.AES128CMSHA1_80)}
}

// SRTPProfiles are the names of the profiles of DTLS-SRTP, best first.
func SRTPProfiles() []string {
	var out []string
	for _, p := range profiles() {
		out = append(out, srtp.Profile(p).String())
	}
	return out
}

// protect makes the SRTP contexts of a finished handshake (RFC 5764 §4.2).
func protect(assoc *dtls.Association, client bool) (*srtp.Sender, *srtp.Receiver, error) {
	p := srtp.Profile(assoc.Profile())
	keys, err := srtp.ExportKeys(assoc, p, client)
	if err != nil {
		return nil, nil, err
	}
	return srtp.NewPair(p, keys)
}

// printable makes text safe for logs and one line long.
func printable(text string) string {
	const longest = 200
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, text)
	return text[:min(len(text), longest)]
}
