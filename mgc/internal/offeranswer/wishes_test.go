package offeranswer

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/isthmus-gateway/isthmus/pkg/sdp"
)

// holder is a peer whose user holds the other one and resumes.
type holder struct {
	side    Side
	holds   bool
	held    bool // by an offer of the other peer
	limits  bool // offers no more than the other peer takes, as JsSIP does: nothing is sent to one that holds
	oldHold bool // holds with 0.0.0.0 (RFC 3264 §8.4)
	version int
}

// wish is what it would do with a peer that takes all.
func (h *holder) wish() sdp.Direction { return sdp.Dir(true, !h.holds) }

func (h *holder) offers() sdp.Direction { return sdp.Dir(!h.limits || !h.held, !h.holds) }

func (h *holder) describe(t *testing.T, dir sdp.Direction, setup string) *sdp.Description {
	h.version++
	if h.side == Access {
		text := strings.Replace(fmt.Sprintf(chrome, setup), "a=sendrecv", "a="+dir.String(), 1)
		return parse(t, strings.Replace(text, "051336 2 IN", fmt.Sprintf("051336 %d IN", h.version), 1))
	}
	at := "10.9.0.7"
	if h.oldHold && h.holds {
		at, dir = "0.0.0.0", sdp.Dir(dir.Sends(), true)
	}
	return parse(t, fmt.Sprintf("v=0\no=- 9 %d IN IP4 10.9.0.7\ns=-\nc=IN IP4 %s\nt=0 0\nm=audio 4000 RTP/AVP 8\na=%s\n", h.version, at, dir))
}

// holding is a call of two such peers.
type holding struct {
	*testing.T
	r     *rand.Rand
	m     Media
	peers [2]*holder
	log   []string
}

func (h *holding) fatalf(format string, args ...any) {
	h.Helper()
	h.Fatalf("%s\n%s", fmt.Sprintf(format, args...), strings.Join(h.log, "\n"))
}

// ask offers to a peer what holds now; false: it refuses, as in glare, and all is as before.
func (h *holding) ask(p *holder, dir sdp.Direction, refusable bool) bool {
	before := h.m
	var err error
	if h.m, _, err = h.m.MakeOffer(p.side, dir); err != nil {
		h.fatalf("%v", err)
	}
	told := h.m.Line(p.side).Told
	answer := p.wish().And(told.Reverse())
	if refusable && h.r.IntN(5) == 0 {
		h.log = append(h.log, fmt.Sprintf("%d is offered %v and refuses", p.side, told))
		h.m = h.m.Undo(before)
		return false
	}
	h.log = append(h.log, fmt.Sprintf("%d is offered %v and answers %v", p.side, told, answer))
	p.held = !told.Receives()
	if h.m, err = h.m.Answer(p.side, p.describe(h.T, answer, "active")); err != nil {
		h.fatalf("%v", err)
	}
	return true
}

// settle offers to whoever believes what no longer holds.
func (h *holding) settle() {
	for range 8 {
		side := Access
		if !h.m.Stale(side) {
			side = Core
		}
		if !h.m.Stale(side) {
			return
		}
		h.ask(h.peers[side], sdp.DirUnset, false)
	}
	h.fatalf("does not settle")
}

// offer has a peer offer; false: that came to nothing.
func (h *holding) offer(p *holder) bool {
	before := h.m
	dir := p.offers()
	h.log = append(h.log, fmt.Sprintf("%d, which holds %v, is held %v, offers %v", p.side, p.holds, p.held, dir))
	var change Change
	var err error
	if h.m, change, err = h.m.Offer(p.side, p.describe(h.T, dir, "actpass")); err != nil {
		h.fatalf("%v", err)
	}
	if change.Tell && !h.ask(h.peers[p.side.Other()], sdp.DirUnset, true) {
		h.m = h.m.Undo(before)
		return false
	}
	if h.r.IntN(8) == 0 { // the media gateway fails, or the offer is taken back
		h.log = append(h.log, "and is refused")
		h.m = h.m.Revert(p.side, before)
		h.settle()
		return false
	}
	if h.m, _, err = h.m.MakeAnswer(p.side); err != nil || h.m.Stale(Access) || h.m.Stale(Core) {
		h.fatalf("%v, or another offer is needed", err)
	}
	return true
}

// TestR3264_8_4_R6337_HoldsInAnyOrder: both peers hold, resume, restart ICE and refresh in random order, some offers come to nothing. What is agreed is what both want, and
// after both have resumed each hears the other.
func TestR3264_8_4_R6337_HoldsInAnyOrder(t *testing.T) {
	start, _ := called(t, policyOf(false), parse(t, "v=0\no=- 9 0 IN IP4 10.9.0.7\ns=-\nc=IN IP4 10.9.0.7\nt=0 0\nm=audio 4000 RTP/AVP 8\n"))
	for seed := range uint64(1000) {
		h := &holding{T: t, r: rand.New(rand.NewPCG(seed, fixedSeed)), m: start, log: []string{fmt.Sprint("sequence ", seed)}}
		for side := range h.peers {
			h.peers[side] = &holder{side: Side(side), limits: h.r.IntN(2) == 0, oldHold: h.r.IntN(2) == 0, version: 2}
		}
		for range 1 + h.r.IntN(8) {
			p := h.peers[h.r.IntN(2)]
			switch was := p.holds; h.r.IntN(4) {
			case 0: // an INVITE without an offer
				h.ask(p, h.m.Able(p.side), false)
				h.settle()
			case 1:
				h.offer(p) // as it is: an ICE restart, a refresh
			default:
				if p.holds = !was; !h.offer(p) {
					p.holds = was
				}
			}
			w, c := h.peers[Access].holds, h.peers[Core].holds
			want := [2]sdp.Direction{Access: sdp.Dir(!w, !c), Core: sdp.Dir(!c, !w)}
			if got := [2]sdp.Direction{h.m.Line(Access).Dir, h.m.Line(Core).Dir}; got != want {
				h.fatalf("agreed %v, want %v", got, want)
			}
		}
		first := h.r.IntN(2)
		for _, p := range []*holder{h.peers[first], h.peers[1-first]} {
			for try := 0; p.holds && try < 50; try++ {
				p.holds = false
				p.holds = !h.offer(p)
			}
		}
		if a, c := h.m.Line(Access).Dir, h.m.Line(Core).Dir; a != sdp.SendRecv || c != sdp.SendRecv {
			h.fatalf("both have resumed, agreed is %v and %v", a, c)
		}
	}
}
