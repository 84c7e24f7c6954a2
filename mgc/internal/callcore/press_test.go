package callcore

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer/peertest"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// press is one key that was pressed. Its duration tells it from all others of the call, wherever it comes out.
type press struct {
	n    int
	key  string
	from Leg
	tx   string // server transaction of its INFO; "": in media
	told bool   // in media: the MGW has notified it, or will
	at   int    // when the call core got to know of it, in order; 0: it has not

	accepted bool // the INFO was answered with 2xx, or the MGW notified it
	heard    bool // the MGW has passed it in media by itself
	infos    int  // INFO to the other side
	status   int  // final response to that; 0: none yet
	played   int  // by the MGW, as a signal
}

// pressLength is the duration of the first digit.
const pressLength = 1000

func (p *press) length() time.Duration { return time.Duration(pressLength+p.n) * time.Millisecond }

// notTaken are responses of a peer that takes no INFO with digits: it gets them in its media.
var notTaken = []int{405, 415, 469, 488, 501}

// reached counts how often the digit has come to the other side. An INFO without response may have.
func (p *press) reached() int {
	n := p.played
	if p.heard {
		n++
	}
	if p.infos > 0 && p.status < 300 {
		n++
	}
	return n
}

// check holds at all times: a digit comes once at most, and not at all when who pressed it was told that it did not.
func (p *press) check() error {
	switch {
	case p.infos > 1 || p.played > 1 || p.reached() > 1:
		return fmt.Errorf("digit %d comes twice: %+v", p.n, *p)
	case p.heard && p.infos > 0:
		return fmt.Errorf("digit %d is in media and in INFO: %+v", p.n, *p)
	case p.played > 0 && p.infos > 0 && !slices.Contains(notTaken, p.status):
		return fmt.Errorf("digit %d is played after INFO was answered with %d", p.n, p.status)
	}
	return nil
}

// press adds a digit.
func (w *world) press(from Leg) *press {
	p := &press{n: len(w.presses), key: string(digitKeys[w.r.IntN(len(digitKeys))]), from: from}
	w.presses = append(w.presses, p)
	return p
}

// sendDigits is an INFO with a digit; some are none.
func (w *world) sendDigits(a *agent) error {
	tx := w.tx(a, "INFO")
	if w.r.IntN(12) == 0 {
		w.server[tx].want = []int{400, 481, 483, 500}
		m := a.request("INFO", []byte(peertest.Pick(w.r, "Signal=x", "", "Signal=5\r\nDuration=-1", "55")))
		m.Set("Content-Type", peertest.Pick(w.r, "application/dtmf-relay", "application/dtmf-relay", "application/dtmf"))
		if headers.MediaType(&m) == "application/dtmf" {
			m.Body = []byte("55")
		}
		return w.step(RequestIn{Leg: a.leg, Tx: tx, Msg: m})
	}
	p := w.press(a.leg)
	p.tx = tx
	w.byTx[tx] = p
	w.known(p)
	m := a.request("INFO", fmt.Appendf(nil, "Signal=%s\r\nDuration=%d\r\n", p.key, p.length().Milliseconds()))
	m.Set("Content-Type", "application/dtmf-relay")
	return w.step(RequestIn{Leg: a.leg, Tx: tx, Msg: m})
}

// pressInMedia is a telephone-event, or a tone, that comes to the MGW: it passes there, or is kept out, and is notified where it was asked for.
// What comes while the stream's mode lets nothing in is not looked at.
func (w *world) pressInMedia(l Leg) error {
	g := &w.mgw
	in, _ := g.lets(l)
	_, out := g.lets(l.Other())
	if !in {
		return nil
	}
	p := w.press(l)
	p.heard, p.told = out && !g.drops[l.Other()], g.tells[l]
	if out && !p.heard && !p.told {
		return fmt.Errorf("digit %d of %s is kept out of media, and not told", p.n, l)
	}
	if !p.told {
		return nil
	}
	p.accepted = out && !p.heard // a side on hold need not get it
	g.notifies = append(g.notifies, &iqv1.NotifyRequest{ContextId: "cx1", TerminationId: fmt.Sprintf("ip/%d", l), RequestId: g.request[l], Events: []*iqv1.ObservedEvent{{
		Type: iqv1.EventType_EVENT_TYPE_DTMF, Params: map[string]string{"digit": p.key, "duration_ms": strconv.FormatInt(p.length().Milliseconds(), 10)}}}})
	return nil
}

// known notes that the call core gets to know of a digit.
func (w *world) known(p *press) {
	w.order++
	p.at = w.order
}

// lets reports what the mode of the stream lets in and out.
func (g *mgwWorld) lets(l Leg) (in, out bool) {
	switch g.state[l].GetStreams()[0].GetLocalControl().GetMode() {
	case iqv1.LocalControl_MODE_SENDRECV:
		return true, true
	case iqv1.LocalControl_MODE_RECVONLY:
		return true, false
	case iqv1.LocalControl_MODE_SENDONLY:
		return false, true
	}
	return false, false
}

// takeDigit notes an INFO of ours with a digit.
func (w *world) takeDigit(e SendRequest) error {
	if !isDigit(&e.Msg) {
		return nil
	}
	d, ok := parseDigit(&e.Msg)
	if !ok {
		return fmt.Errorf("INFO with %q", e.Msg.Body)
	}
	plain := headers.MediaType(&e.Msg) == "application/dtmf"
	for _, p := range slices.SortedFunc(slices.Values(w.presses), func(a, b *press) int { return a.at - b.at }) {
		if p.at == 0 || p.from == e.Leg || p.key != d.Key || !plain && p.length() != d.For || plain && (p.infos > 0 || p.heard || p.played > 0 || p.tx != "" && p.refused(w)) {
			continue
		}
		p.infos++
		w.byClient[e.Tx] = p
		for _, later := range w.presses {
			if later.from == p.from && later.at > p.at && later.infos > 0 && !w.passed[later] {
				return fmt.Errorf("digit %d after digit %d", p.n, later.n)
			}
		}
		if s := w.server[p.tx]; s != nil && s.finals == 0 && !w.s.byInfo(e.Leg) {
			w.passed[p] = true
		}
		w.seen["digit by INFO"]++
		return p.check()
	}
	return fmt.Errorf("INFO with a digit that nobody pressed: %q", e.Msg.Body)
}

// refused reports whether its INFO had a final response other than 2xx.
func (p *press) refused(w *world) bool {
	s := w.server[p.tx]
	return s != nil && s.finals > 0 && !s.ok
}

// digitAnswered takes our final response to an INFO with a digit.
func (w *world) digitAnswered(tx string, status int) error {
	p := w.byTx[tx]
	if p == nil || status < 200 {
		return nil
	}
	p.accepted = status < 300
	w.seen[fmt.Sprintf("INFO with a digit: %d", status)]++
	if !p.accepted && p.reached() > 0 && p.status == 0 && status != 487 {
		return fmt.Errorf("%d for digit %d, which has come: %+v", status, p.n, *p)
	}
	return nil
}

// digitFinal takes the peer's final response to an INFO of ours; 0: there is none.
func (w *world) digitFinal(tx string, status int) {
	if p := w.byClient[tx]; p != nil {
		if p.status = status; status == 0 {
			p.status = 408
		}
	}
}

// digitStatus is how the peer answers an INFO with a digit.
func (w *world) digitStatus(a *agent) int {
	if a != nil && a.noDigits == 0 {
		a.noDigits = peertest.Pick(w.r, 1, 1, 1, 405, 415, 501)
	}
	switch {
	case a != nil && a.noDigits > 1:
		return a.noDigits
	case w.r.IntN(10) == 0:
		return peertest.Pick(w.r, 404, 500, 481)
	}
	return 200
}

// playDigits has the MGW play the digits of a descriptor on the leg.
func (w *world) playDigits(l Leg, d *iqv1.SignalsDescriptor) error {
	for _, s := range d.GetSignals() {
		if !strings.HasPrefix(s.GetName(), "dg/") {
			continue
		}
		i := int(s.GetDuration().AsDuration()/time.Millisecond) - pressLength
		if i < 0 || i >= len(w.presses) {
			if w.operators[l] { // an operator's
				continue
			}
			return fmt.Errorf("%s for %v, which nobody pressed", s.GetName(), s.GetDuration().AsDuration())
		}
		p := w.presses[i]
		want := "dg/d" + string(digitSuffix[strings.Index(digitKeys, p.key)])
		if p.from == l || s.GetName() != want {
			return fmt.Errorf("digit %d: %s on %s, want %s", i, s.GetName(), l, want)
		}
		p.played++
		w.seen["digit as a signal"]++
		for _, later := range w.presses {
			if later.from == p.from && later.at > p.at && later.played > 0 {
				return fmt.Errorf("digit %d is played after digit %d", i, later.n)
			}
		}
		if err := p.check(); err != nil {
			return err
		}
	}
	return nil
}

// noDigitLost holds when nothing is under way in a call that is up.
func (w *world) noDigitLost() error {
	if len(w.mgw.notifies) > 0 {
		return nil
	}
	for _, p := range w.presses {
		switch {
		case !p.accepted || p.reached() == 1:
		case p.infos > 0 && !slices.Contains(notTaken, p.status): // the peer's affair
		case w.lostDigits[p]: // the MGW has refused to play it
		default:
			return fmt.Errorf("digit %d of %s is lost: %+v", p.n, p.from, *p)
		}
	}
	return nil
}

// refusesDigits notes that the MGW does not perform a transaction, which may have digits.
func (w *world) refusesDigits(req *iqv1.TransactionRequest) {
	for _, c := range req.GetActions()[0].GetCommands() {
		for _, s := range c.GetModify().GetDescriptor_().GetSignals().GetSignals() {
			if i := int(s.GetDuration().AsDuration()/time.Millisecond) - pressLength; i >= 0 && i < len(w.presses) && strings.HasPrefix(s.GetName(), "dg/") {
				w.lostDigits[w.presses[i]] = true
			}
		}
	}
}

// deliver brings the MGW's oldest notification of a digit or of the end of a signal.
func (w *world) deliver() error {
	if len(w.mgw.notifies) == 0 {
		return errors.New("no notification")
	}
	r := w.mgw.notifies[0]
	w.mgw.notifies = w.mgw.notifies[1:]
	w.completed(r)
	if ms, err := strconv.Atoi(r.GetEvents()[0].GetParams()["duration_ms"]); err == nil {
		w.known(w.presses[ms-pressLength])
	}
	return w.step(IqNotify{Req: r})
}
