package offeranswer

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer/peertest"
	"github.com/isthmus-gateway/isthmus/pkg/sdp"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// agreeOnLines checks the further audio lines after a negotiation: each line that both peers have is a stream with the same number on both terminations for as long
// as it lives, and goes as both users want; what one peer alone has is silent; the MGW is told the peers' addresses, keys and codecs of each.
func (n *negotiation) agreeOnLines() error {
	if n.lines[Access] == nil {
		if n.m.Streams() != 1 {
			return fmt.Errorf("%d streams", n.m.Streams())
		}
		return nil
	}
	if n.m.Streams() > n.m.Policy.Streams+1 { // one may be left of an offer that was refused
		return fmt.Errorf("%d streams, %d allowed", n.m.Streams(), n.m.Policy.Streams)
	}
	access, core := n.m.ModifyDescriptor(Access, Open).GetStreams(), n.m.ModifyDescriptor(Core, Open).GetStreams()
	if len(access) != n.m.Streams() || len(core) != len(access) {
		return fmt.Errorf("%d and %d streams of %d", len(access), len(core), n.m.Streams())
	}
	found := 0
	for i := 1; i < len(access); i++ {
		if access[i].GetStreamId() != uint32(i+1) || core[i].GetStreamId() != uint32(i+1) {
			return fmt.Errorf("streams %d and %d at %d", access[i].GetStreamId(), core[i].GetStreamId(), i)
		}
		w, p := n.lineAt(Access, i), n.lineAt(Core, i)
		if err := n.agreeOnLine(i, w, p, access[i], core[i]); err != nil {
			return fmt.Errorf("stream %d: %w", i+1, err)
		}
		for _, f := range []*peertest.Further{w, p} {
			if f != nil && f.On {
				found++
			}
		}
	}
	for _, l := range n.lines {
		for _, f := range l.Further {
			if f.On {
				found--
			}
		}
	}
	if found != 0 {
		return fmt.Errorf("%d lines too many are streams", found)
	}
	return nil
}

// lineAt is the peer's line that the planner has for a stream; nil: none.
func (n *negotiation) lineAt(s Side, i int) *peertest.Further {
	a := n.m.Lines[s].streamAt(i).Audio
	if a < 0 {
		return nil
	}
	return n.lines[s].At(a)
}

func (n *negotiation) agreeOnLine(i int, w, p *peertest.Further, access, core *iqv1.Stream) error {
	on := func(f *peertest.Further) bool { return f != nil && f.On }
	wants := func(f *peertest.Further) (bool, bool) {
		if !on(f) {
			return false, false
		}
		return f.Wants()
	}
	ws, wr := wants(w)
	ps, pr := wants(p)
	if on(w) && on(p) {
		n.several++
	}
	want := [2]sdp.Direction{Access: sdp.Dir(ps && wr, ws && pr), Core: sdp.Dir(ws && pr, ps && wr)}
	v := n.m.at(i)
	at := n.places[i]
	for s, f := range []*peertest.Further{w, p} {
		stream := access
		if Side(s) == Core {
			stream = core
		}
		mode, agreed := stream.GetLocalControl().GetMode(), iqv1.LocalControl_MODE_INACTIVE
		if on(f) {
			agreed = map[sdp.Direction]iqv1.LocalControl_Mode{
				sdp.SendRecv: iqv1.LocalControl_MODE_SENDRECV, sdp.SendOnly: iqv1.LocalControl_MODE_SENDONLY,
				sdp.RecvOnly: iqv1.LocalControl_MODE_RECVONLY, sdp.Inactive: iqv1.LocalControl_MODE_INACTIVE,
			}[f.Dir]
			if stale := f.Dir != want[s]; stale != v.stale(Side(s)) {
				return fmt.Errorf("%s: agreed %s, users want %s, stale %v", name(Side(s)), f.Dir, want[s], v.stale(Side(s)))
			}
		}
		if mode != agreed {
			return fmt.Errorf("%s: mode %s, agreed %s", name(Side(s)), mode, agreed)
		}
		if line, err := strconv.Atoi(at[s]); err == nil && !on(n.lines[s].At(line)) { // a line that comes back is like a new one (RFC 3264 §8.1)
			at[s] = ""
			n.places[i] = at
		}
		if !on(f) {
			continue
		}
		if err := n.mgw.CheckLine(f, stream); err != nil {
			return fmt.Errorf("%s: %w", name(Side(s)), err)
		}
		place := fmt.Sprint(v.Line(Side(s)).Audio)
		if was := at[s]; was != "" && was != place { // another may only take the place of one that was given up
			return fmt.Errorf("%s: line %s was line %s, which is there", name(Side(s)), place, was)
		}
		at[s] = place
		n.places[i] = at
	}
	return nil
}

// TestR9429_5_2_2_NoLineWithoutCodecs plays sequences again in which a line that a browser had given up came into our offer once more, under its old name and with no codec:
// the phone asks for it again with none that can be joined.
func TestR9429_5_2_2_NoLineWithoutCodecs(t *testing.T) {
	for _, x := range []struct {
		seed     uint64
		sequence int
	}{{1, 73040}, {1, 73097}, {3, 19154}} {
		if ladder, err := ladderOf(newNegotiation(x.seed, x.sequence)); err != nil {
			t.Errorf("ISTHMUS_SEED=%#x ISTHMUS_SEQUENCE=%d: %v\n%s", x.seed, x.sequence, err, ladder)
		}
	}
}
