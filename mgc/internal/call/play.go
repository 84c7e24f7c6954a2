package call

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
	"github.com/isthmus-gateway/isthmus/pkg/gwerr"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// ErrNoCall tells that this instance has no such call.
var ErrNoCall = errors.New("call: no such call on this instance")

// playLongest bounds the wait for the media gateway's reply: longer than its transactions are repeated.
const playLongest = 15 * time.Second

// Play plays signals to a side of a call, or stops those that are playing when there are none, and waits for the media gateway. Errors: ErrNoCall, a
// *gwerr.Error, that of ctx, context.DeadlineExceeded after playLongest.
func (m *Manager) Play(ctx context.Context, key string, leg callcore.Leg, signals []*iqv1.Signal) error {
	told := make(chan callcore.Played, 1)
	m.mu.Lock()
	o := m.calls[key]
	m.plays++
	id := key + "/" + strconv.FormatUint(m.plays, 10)
	m.playing[id] = told
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.playing, id)
	}()
	if o == nil {
		return fmt.Errorf("%w: %q", ErrNoCall, key)
	}
	switch o.post(callcore.Play{ID: id, Leg: leg, Signals: signals}) {
	case taken:
	case full:
		return gwerr.Newf(gwerr.ServiceUnavailable, "play", key, "too much waits for the call")
	case over:
		return fmt.Errorf("%w: %q", ErrNoCall, key)
	}
	ctx, cancel := context.WithTimeout(ctx, playLongest)
	defer cancel()
	select {
	case p := <-told:
		if p.Err == nil {
			return nil
		}
		code := gwerr.Code(p.Err.Code)
		if code == 0 {
			code = gwerr.UnreachableGateway
		}
		return gwerr.Newf(code, "play", key, "%s", p.Err.Text)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// played tells whoever waits what became of signals; nobody does when they were asked of another instance, or have waited too long.
func (m *Manager) played(e callcore.Played) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if told := m.playing[e.ID]; told != nil {
		told <- e
		delete(m.playing, e.ID)
	}
}
