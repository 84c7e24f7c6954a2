package offeranswer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer/peertest"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
	"github.com/isthmus-gateway/isthmus/pkg/race"
	"github.com/isthmus-gateway/isthmus/pkg/sdp"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

const (
	sequences      = 100_000
	sequencesShort = 5_000
	fixedSeed      = 0x15764
)

// TestR3264_R6337_RandomNegotiations plays random sequences of offers and answers between a browser, the planner and a phone. A failure
// prints the sequence as a ladder; ISTHMUS_SEED and ISTHMUS_SEQUENCE play it again.
func TestR3264_R6337_RandomNegotiations(t *testing.T) {
	n := race.Fewer(sequences, sequencesShort)
	if testing.Short() {
		n = sequencesShort
	}
	var exchanges, several int
	var noisy [2]int
	playRandom(t, n, newNegotiation, func(g *negotiation) {
		exchanges += g.exchanges
		several += g.several
		for side, was := range g.noisy {
			if was {
				noisy[side]++
			}
		}
	})
	if exchanges == 0 { // one was played again
		return
	}
	t.Logf("%d sequences, %d exchanges; comfort noise agreed in %d with the browser, in %d with the phone", n, exchanges, noisy[Access], noisy[Core])
	if t.Logf("%d agreements on further lines that both sides have", several); several < n/20 {
		t.Error("further lines were hardly ever agreed")
	}
	if noisy[Access] == 0 || noisy[Core] == 0 {
		t.Error("comfort noise was never agreed")
	}
}

// TestR3264_8_1_R4568_RandomLinesThatComeBack is the same with SRTP, long sequences, and more lines of the phone than there are streams for: a line that was at port 0
// may come back as another stream of the gateway's, so with other keys.
func TestR3264_8_1_R4568_RandomLinesThatComeBack(t *testing.T) {
	n := race.Fewer(500, 100)
	if testing.Short() {
		n = 100
	}
	played, renewed := 0, 0
	playRandom(t, n, newBusy, func(g *negotiation) {
		played++
		for _, f := range g.lines[Core].Further {
			if f.Phone.Crypto.Renewed {
				renewed++
			}
		}
	})
	if t.Logf("%d lines came back with other keys", renewed); renewed < played/50 {
		t.Error("lines hardly ever came back with other keys")
	}
}

// playRandom plays n sequences; each that has been played is done with, one at a time.
func playRandom(t *testing.T, n int, begin func(seed uint64, i int) *negotiation, done func(*negotiation)) {
	t.Helper()
	seed := uint64(fixedSeed)
	if v, err := strconv.ParseUint(os.Getenv("ISTHMUS_SEED"), 0, 64); err == nil {
		seed = v
	}
	t.Logf("ISTHMUS_SEED=%#x", seed)
	if one, err := strconv.Atoi(os.Getenv("ISTHMUS_SEQUENCE")); err == nil {
		ladder, err := ladderOf(begin(seed, one))
		if t.Logf("%s", ladder); err != nil {
			t.Error(err)
		}
		return
	}
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	var next, failed atomic.Int64
	var mu sync.Mutex // guards what done does
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && failed.Load() < 3; i = int(next.Add(1)) - 1 {
				g := begin(seed, i)
				if err := g.run(); err != nil {
					failed.Add(1)
					ladder, _ := ladderOf(begin(seed, i))
					t.Errorf("ISTHMUS_SEED=%#x ISTHMUS_SEQUENCE=%d: %v\n%s", seed, i, err, ladder)
				}
				mu.Lock()
				done(g)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

// ladderOf plays a sequence and writes down what is said.
func ladderOf(n *negotiation) (string, error) {
	n.ladder = &strings.Builder{}
	err := n.run()
	return n.ladder.String(), err
}

// user is one of the two models.
type user interface {
	Offer(names []string) (*sdp.Description, peertest.Expect)
	TakeOffer(raw []byte) (*sdp.Description, sdp.Direction, error)
	TakeAnswer(raw []byte, e peertest.Expect) (sdp.Direction, error)
	Keep()
	Restore()
	Forget()
}

// negotiation is one sequence.
type negotiation struct {
	r         *rand.Rand
	m         Media
	full      bool // the policy lets everything be transcoded
	web       *peertest.Browser
	phone     *peertest.Phone
	mgw       peertest.Gateway
	dir       [2]sdp.Direction // agreed, from our point of view; by side
	ladder    *strings.Builder // nil: nobody reads it
	exchanges int
	lines     [2]*peertest.Lines // by side; nil: one audio line on both
	several   int                // further lines that both had at an agreement
	places    map[int][2]string  // by stream, where it stands on both sides
	noisy     [2]bool            // comfort noise was agreed at some time, by side
	long      int                // exchanges at most; 0: few
	deep      bool               // check also that old values stay as they were
}

func newNegotiation(seed uint64, i int) *negotiation {
	r := rand.New(rand.NewPCG(seed, uint64(i)))
	n := &negotiation{r: r, full: true, web: peertest.NewBrowser(r), deep: i%64 == 0}
	p := DefaultPolicy()
	switch r.IntN(10) {
	case 0:
		p.Prefer = PreferOpus
	case 1:
		p.Access = []string{"opus", "PCMA"}
	case 2:
		p.Transcode, n.full = nil, false
	case 3:
		p.Prefer, p.Core = PreferOpus, []string{"PCMU", "PCMA"}
	case 4, 5, 6:
		p.Prefer, p.Core, p.MTSI = PreferCore, MTSICodecs, true
	}
	p.Latch = peertest.Chance(r, 10)
	p.Noise = peertest.Pick(r, NoiseOffer, NoiseOffer, NoiseOffer, NoiseAnswer, NoiseOff)
	p.DTX = peertest.Pick(r, DTXOff, DTXCore, DTXBoth)
	p.SRTP = peertest.Pick(r, SRTPOff, SRTPOff, SRTPOsrtp, SRTPRequired)
	n.phone = peertest.NewPhone(r, string(p.SRTP))
	n.mgw.Full = peertest.Chance(r, 30)
	n.web.FullICE = n.mgw.Full
	if p.Streams = peertest.Pick(r, 1, 1, 2, 3); p.Streams > 1 {
		n.lines = [2]*peertest.Lines{peertest.NewLines(r, n.web, nil, 2), peertest.NewLines(r, nil, n.phone, 2)}
		n.places = map[int][2]string{}
	}
	n.m = New(p, r.Uint64()>>1, r.Uint64()>>1, peertest.Word(r, 32))
	return n
}

// newBusy is a longer sequence with keys, in which more lines come and go than there are streams for.
func newBusy(seed uint64, i int) *negotiation {
	r := rand.New(rand.NewPCG(seed, ^uint64(i)))
	n := &negotiation{r: r, full: true, web: peertest.NewBrowser(r), places: map[int][2]string{}, long: 30}
	p := DefaultPolicy()
	p.SRTP, p.Streams = peertest.Pick(r, SRTPOsrtp, SRTPRequired), 3
	n.phone = peertest.NewPhone(r, string(p.SRTP))
	n.lines = [2]*peertest.Lines{peertest.NewLines(r, n.web, nil, 2), peertest.NewLines(r, nil, n.phone, 3)}
	n.lines[Core].Busy, n.lines[Access].Busy = true, true
	n.m = New(p, r.Uint64()>>1, r.Uint64()>>1, peertest.Word(r, 32))
	return n
}

func (n *negotiation) user(side Side) user {
	if n.lines[side] != nil {
		return n.lines[side]
	}
	if side == Access {
		return n.web
	}
	return n.phone
}

// note adds to the ladder; descriptions are written only when somebody reads it.
func (n *negotiation) note(format string, args ...any) {
	if n.ladder == nil {
		return
	}
	for i, a := range args {
		switch a := a.(type) {
		case *sdp.Description:
			args[i] = indent(a.Marshal())
		case []byte:
			args[i] = indent(a)
		}
	}
	fmt.Fprintf(n.ladder, format+"\n", args...)
}

func name(s Side) string { return map[Side]string{Access: "browser", Core: "phone"}[s] }

func indent(b []byte) string {
	return "    " + strings.ReplaceAll(strings.TrimSpace(strings.ReplaceAll(string(b), "\r\n", "\n")), "\n", "\n    ")
}

// run plays the sequence.
func (n *negotiation) run() error {
	n.note("policy %+v", n.m.Policy)
	up, err := n.begin()
	most := n.long
	if most == 0 {
		most = peertest.Pick(n.r, 4, 4, 4, 12)
	}
	for i := n.r.IntN(most); err == nil && up && i > 0; i-- {
		if err = n.exchange(Side(n.r.IntN(2))); err == nil {
			err = n.settle()
		}
	}
	return err
}

// begin sets the call up; up is false when it ends there.
func (n *negotiation) begin() (up bool, err error) {
	if peertest.Chance(n.r, 10) {
		return n.beginWithoutOffer()
	}
	x := Side(n.r.IntN(2))
	n.exchanges++
	offer, e := n.user(x).Offer(n.names(x))
	n.note("%s offers (expected: %+v)\n%s", name(x), e, offer)
	m, _, err := n.m.Offer(x, offer)
	if bad := verdict(err, e, n.full); bad != nil || err != nil {
		return false, bad
	}
	n.m = m
	if err := n.addBoth(); err != nil {
		return false, err
	}
	if x == Access && n.lines[x] == nil && peertest.Chance(n.r, 15) {
		return n.forked(x, e)
	}
	ok, err := n.tell(x.Other())
	if err != nil || !ok {
		return false, err
	}
	return n.reply(x, e, true)
}

func (n *negotiation) names(s Side) []string {
	if s == Access {
		return n.m.Policy.Access
	}
	return n.m.Policy.Core
}

// verdict compares the planner's with what was expected. Without transcoding a good offer may lack a codec that both sides have.
func verdict(err error, e peertest.Expect, full bool) error {
	var u *Unacceptable
	switch {
	case err == nil && e.Fails != "":
		return fmt.Errorf("taken, though: %s", e.Fails)
	case err != nil && !errors.As(err, &u):
		return fmt.Errorf("not an Unacceptable: %w", err)
	case err != nil && e.Fails == "" && (full || u.Code != 305):
		return fmt.Errorf("a good offer is refused: %w", err)
	}
	return nil
}

func (n *negotiation) addBoth() error {
	for _, s := range []Side{Access, Core} {
		if d := n.m.AddDescriptor(s, "r", Closed); len(d.GetStreams()[0].GetLocal().GetCodecs()) == 0 ||
			d.GetStreams()[0].GetLocalControl().GetMode() != iqv1.LocalControl_MODE_INACTIVE {
			return fmt.Errorf("Add %s: %v", name(s), d)
		}
		more := n.mgw.Streams(s == Core, n.m.AddDescriptor(s, "r", Closed))
		m, err := n.m.Resolve(s, n.mgw.Add(s == Core))
		if err != nil {
			return err
		}
		n.m = m.Made(s, more)
	}
	return nil
}

// beginWithoutOffer is an INVITE without offer from the core: the browser is offered all, its answer makes our offer.
func (n *negotiation) beginWithoutOffer() (up bool, err error) {
	n.note("phone calls without offer")
	if err := n.addBoth(); err != nil {
		return false, err
	}
	for _, s := range []Side{Access, Core} {
		if ok, err := n.tell(s); err != nil || !ok {
			return false, err
		}
	}
	return true, errors.Join(n.settle(), n.agree())
}

// forked has several phones answer the browser's call; the last one is it. The browser has its answer after the first.
func (n *negotiation) forked(x Side, e peertest.Expect) (up bool, err error) {
	m, body, err := n.m.MakeOffer(Core, sdp.DirUnset)
	if err != nil {
		return false, err
	}
	n.m = m
	forks := 1 + n.r.IntN(3)
	for i := range forks {
		p := peertest.NewPhone(n.r, string(n.m.Policy.SRTP))
		p.Can = peertest.Some(n.r, peertest.PhoneMenu(101, 97)[:3])
		ans, dir, err := p.TakeOffer(body)
		if err != nil {
			return false, err
		}
		if ans == nil {
			continue
		}
		n.note("fork %d answers\n%s", i, ans)
		if m, err = n.m.Answer(Core, ans); err != nil {
			if n.full {
				return false, err
			}
			continue
		}
		first := n.dir[Core] == sdp.DirUnset
		n.m, n.phone, n.dir[Core] = m, p, m.Lines[Core].Told.And(dir.Reverse())
		if first {
			if up, err := n.reply(x, e, false); !up || err != nil {
				return false, err
			}
		}
	}
	if n.dir[Core] == sdp.DirUnset {
		return false, nil
	}
	return true, n.settle()
}

// tell offers to a side and takes its answer; ok is false when it refuses.
func (n *negotiation) tell(y Side) (ok bool, err error) {
	before := n.m
	m, body, err := n.m.MakeOffer(y, sdp.DirUnset)
	if err != nil {
		return false, fmt.Errorf("offer to the %s: %w", name(y), err)
	}
	n.note("offer to the %s\n%s", name(y), body)
	offered, err := sdp.Parse(body)
	if err != nil {
		return false, err
	}
	ans, dir, err := n.user(y).TakeOffer(body)
	if err != nil {
		return false, fmt.Errorf("%s does not take our offer: %w", name(y), err)
	}
	if ans == nil {
		n.note("%s refuses", name(y))
		n.user(y).Restore()
		n.m = m.Undo(before)
		return false, nil
	}
	n.note("%s answers\n%s", name(y), ans)
	if m, err = m.Answer(y, ans); err != nil {
		return false, fmt.Errorf("answer of the %s: %w", name(y), err)
	}
	n.m = m
	n.dir[y] = offered.DirectionOf(&offered.Media[m.Lines[y].Audio]).And(dir.Reverse())
	return true, nil
}

// reply answers a side's offer; settled: both sides are known by now.
func (n *negotiation) reply(x Side, e peertest.Expect, settled bool) (up bool, err error) {
	m, body, err := n.m.MakeAnswer(x)
	if err != nil {
		if !n.full {
			return false, nil
		}
		return false, fmt.Errorf("answer to the %s: %w", name(x), err)
	}
	n.note("answer to the %s\n%s", name(x), body)
	n.m = m
	if n.dir[x], err = n.user(x).TakeAnswer(body, e); err != nil {
		return false, fmt.Errorf("%s does not take our answer: %w", name(x), err)
	}
	if want := n.wanted()[x]; n.dir[x] != want {
		return false, fmt.Errorf("the answer to the %s agrees on %s, both users want %s (RFC 3264 §8.4)", name(x), n.dir[x], want)
	}
	if err := n.events(x); err != nil || !settled {
		return true, err
	}
	return true, n.agree()
}

// wanted are the directions that follow from what both users want, from our point of view.
func (n *negotiation) wanted() [2]sdp.Direction {
	w, p := &n.web.Peer, &n.phone.Peer
	return [2]sdp.Direction{
		Access: sdp.Dir(p.Sends && w.Receives, w.Sends && p.Receives),
		Core:   sdp.Dir(w.Sends && p.Receives, p.Sends && w.Receives),
	}
}

// events checks that an answer has telephone-event when both users have it, at the audio's clock rate if it can (RFC 4733 §2.1), and a
// browser's also when the phone has none, at that rate: the MGW plays them.
func (n *negotiation) events(x Side) error {
	p, o := &n.web.Peer, &n.phone.Peer
	if x == Core {
		p, o = o, p
	}
	audio, event := peertest.First(p.Took.Codecs, false), peertest.First(p.Took.Codecs, true)
	both := !peertest.First(p.Codecs, true).IsZero() && !peertest.First(o.Codecs, true).IsZero()
	match := slices.ContainsFunc(p.Codecs, func(c codec.Codec) bool { return c.Is(codec.TelephoneEvent) && c.ClockRate == audio.ClockRate })
	played := x == Access && n.full && match
	if (both || played) == event.IsZero() || match && !event.IsZero() && event.ClockRate != audio.ClockRate {
		return fmt.Errorf("answer to the %s: events %v beside %v; both have them: %v", name(x), event, audio, both)
	}
	return nil
}

// noises checks that comfort noise is what the policy and both users allow (RFC 3389).
func (n *negotiation) noises() error {
	has := func(cs []codec.Codec) bool {
		return slices.ContainsFunc(cs, func(c codec.Codec) bool { return c.Is(codec.ComfortNoise) })
	}
	web, phone := has(n.web.Took.Codecs), has(n.phone.Took.Codecs)
	switch p := n.m.Policy; {
	case web && !n.web.Has(codec.ComfortNoise):
		return errors.New("comfort noise is said to a browser that never had it")
	case (web || phone) && p.Noise == NoiseOff:
		return fmt.Errorf("comfort noise is agreed, the policy is %q", p.Noise)
	case phone && p.DTX == DTXOff && !n.web.Has(codec.ComfortNoise):
		return errors.New("comfort noise is agreed with the phone, nothing pauses")
	}
	n.noisy[Access], n.noisy[Core] = n.noisy[Access] || web && has(n.web.Codecs), n.noisy[Core] || phone && has(n.phone.Codecs)
	return nil
}

// exchange is an offer inside the call.
func (n *negotiation) exchange(x Side) error {
	n.exchanges++
	y := x.Other()
	before := n.m
	var old []byte
	if n.deep {
		old, _ = json.Marshal(before)
	}
	stale := n.m.Stale(y)
	offer, e := n.user(x).Offer(n.names(x))
	n.note("%s offers (expected: %+v)\n%s", name(x), e, offer)
	m, ch, err := n.m.Offer(x, offer)
	if bad := verdict(err, e, n.full); bad != nil {
		return bad
	}
	if err != nil {
		n.note("refused: %v", err)
		n.user(x).Forget()
		n.user(x).Restore()
		return n.untouched(before, old)
	}
	if x == Core && ch.NewKey != e.NewKey && !(e.MayNewKey && (ch.NewKey || !n.full)) {
		return fmt.Errorf("a new key: %v, the phone changes it: %v", ch.NewKey, e.NewKey)
	}
	if ch.ICERestart != e.Restart || ch.NewDTLS != e.NewDTLS || ch.Moved && !e.Moved {
		return fmt.Errorf("change %+v, expected %+v", ch, e)
	}
	n.m = m
	if n.m.New() && peertest.Chance(n.r, 85) { // else the MGW does not make them
		for _, s := range []Side{Access, Core} {
			n.m = n.m.Made(s, n.mgw.Streams(s == Core, n.m.NewDescriptor(s)))
		}
	}
	if n.m.Stale(y) {
		ok, err := n.tell(y)
		if err != nil {
			return err
		}
		if !ok {
			n.user(x).Restore()
			n.m = n.m.Undo(before)
			if n.m.Stale(y) != stale {
				return errors.New("a refused offer changes what has to be told")
			}
			return n.untouched(before, old)
		}
	}
	if e.Restart {
		if n.m.ModifyDescriptor(x, Open).GetTransport().GetLocalIce() != nil {
			return errors.New("restart without CHOOSE of local credentials")
		}
		if n.m, err = n.m.Resolve(x, &iqv1.TerminationDescriptor{Transport: n.mgw.Restart()}); err != nil {
			return err
		}
	}
	_, err = n.reply(x, e, false)
	return errors.Join(err, n.untouched(before, old))
}

// untouched checks that a value which somebody still holds has not changed.
func (n *negotiation) untouched(m Media, old []byte) error {
	if old == nil {
		return nil
	}
	if now, _ := json.Marshal(m); !bytes.Equal(now, old) {
		return fmt.Errorf("an old value has changed:\n%s\n%s", old, now)
	}
	return nil
}

// settle offers to a side what has changed for it without an offer of the other.
func (n *negotiation) settle() error {
	for range 3 { // a refusal leaves it as it is
		for _, s := range []Side{Access, Core} {
			if n.m.Stale(s) {
				if ok, err := n.tell(s); err != nil || !ok {
					return err
				}
			}
		}
	}
	return n.agree()
}

// agree checks that directions follow from what both users want (RFC 3264 §8.4), and that the MGW is told what the peers were.
func (n *negotiation) agree() error {
	w, p, want := &n.web.Peer, &n.phone.Peer, n.wanted()
	for _, s := range []Side{Access, Core} {
		one := n.m.at(0)
		if stale := want[s] != n.dir[s]; stale != one.stale(s) {
			return fmt.Errorf("%s: agreed %s, users want %s, stale %v", name(s), n.dir[s], want[s], n.m.Stale(s))
		}
		f := peertest.Told{Dir: n.dir[s], Said: w.Took, Theirs: w.Codecs, Browser: n.web}
		if s == Core {
			f = peertest.Told{Dir: n.dir[s], Said: p.Took, Theirs: p.Codecs, Phone: n.phone}
		}
		d := n.m.ModifyDescriptor(s, Open)
		if err := n.mgw.Check(s == Core, d, f); err != nil {
			return fmt.Errorf("Modify %s: %w", name(s), err)
		}
	}
	if err := n.noises(); err != nil {
		return err
	}
	a := n.m.ModifyDescriptor(Access, Open).GetStreams()[0].GetRemote().GetCodecs()
	c := n.m.ModifyDescriptor(Core, Open).GetStreams()[0].GetRemote().GetCodecs()
	if len(a) > 0 && len(c) > 0 && !n.full && !peertest.CodecOf(a[0]).SamePayload(peertest.CodecOf(c[0])) {
		return fmt.Errorf("%v and %v cannot be joined without transcoding", a[0], c[0])
	}
	return n.agreeOnLines()
}
