package connmodel

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/isthmus-gateway/isthmus/pkg/codec"
	"github.com/isthmus-gateway/isthmus/pkg/gwerr"
	"github.com/isthmus-gateway/isthmus/pkg/gwid"
	"github.com/isthmus-gateway/isthmus/pkg/race"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
	"google.golang.org/protobuf/types/known/emptypb"
)

// TestRollbackProperty applies random actions with random failures of media and holds three invariants after each: a
// failed atomic action leaves values and media as they were; media is what the values say; nothing is open that is no
// termination of the context.
func TestRollbackProperty(t *testing.T) {
	runs := race.Fewer(800, 300)
	if testing.Short() {
		runs = 300
	}
	var failed, ok, several, paired int
	givenUp := map[bool]int{}
	for seed := range runs {
		g := &generator{Rand: rand.New(rand.NewPCG(uint64(seed), 7)), t: t, media: newFakeMedia(t), cx: New("m.b.1", 1), givenUp: givenUp}
		for range 12 {
			if g.step() {
				ok++
			} else {
				failed++
			}
			for _, term := range g.cx.terms {
				if len(term.Streams) > 1 {
					several++
				}
			}
			if len(g.media.pairs) > 1 {
				paired++
			}
		}
		g.cx.Apply(testEnv(), &iqv1.Action{Commands: []*iqv1.Command{subtractAll()}}, g.media.perform)
		if len(g.media.terms) != 0 || len(g.media.pairs) != 0 {
			t.Fatalf("seed %d: left open: %s", seed, g.media.snapshot())
		}
	}
	if failed < runs || ok < runs || several < runs/2 || paired < runs/10 || givenUp[false] < runs/50 || givenUp[true] == 0 {
		t.Fatalf("the mix is off: %d actions failed, %d succeeded; %d terminations with several streams, %d times several connected; component 2 given up before and after the peer is known: %v",
			failed, ok, several, paired, givenUp)
	}
}

type generator struct {
	*rand.Rand
	t     *testing.T
	media *fakeMedia
	cx    *Context
	// givenUp counts terminations whose component 2 went, by whether the peer was known.
	givenUp map[bool]int
}

// step applies one action and checks; it reports whether the action succeeded.
func (g *generator) step() bool {
	act := &iqv1.Action{Atomic: g.IntN(3) > 0}
	if g.IntN(4) == 0 {
		act.Attributes = &iqv1.ContextAttributes{Priority: uint32(g.IntN(18)), Topology: g.topology()}
	}
	for range 1 + g.IntN(4) {
		c := g.command()
		c.Optional = g.IntN(5) == 0
		act.Commands = append(act.Commands, c)
	}
	g.media.failOn = ""
	if g.IntN(2) == 0 {
		names := []string{"NewAccess", "NewStream", "NewCore", "Configure", "SetAccessRemote", "SetCoreRemote", "RestartICE", "Connect", "Play"}
		g.media.fail(names[g.IntN(len(names))], 1+g.IntN(3), gwerr.InsufficientResources, "injected")
	}
	for _, t := range g.cx.terms {
		if t.RemoteUfrag == "" {
			g.media.terms[t.ID].access = nil // one that a rollback could not take back
		}
	}
	apart := map[gwid.TerminationID]bool{} // by that, whether the peer is known
	for _, t := range g.cx.terms {
		if t.Component2 {
			apart[t.ID] = t.RemoteUfrag != ""
		}
	}
	valuesBefore, mediaBefore, revision := g.values(), g.media.snapshot(), g.cx.Revision
	rep := g.cx.Apply(testEnv(), act, g.media.perform)
	g.media.failOn = ""
	if g.cx.Broken != nil {
		g.repair()
		return false
	}
	if rep.Error != nil && act.Atomic {
		if got := g.values(); got != valuesBefore {
			g.t.Fatalf("values after rollback of %v:\n%s\nbefore:\n%s", act, got, valuesBefore)
		}
		for _, t := range g.cx.terms {
			if t.RemoteUfrag == "" {
				g.media.terms[t.ID].access = nil
			}
		}
		if got := g.media.snapshot(); got != mediaBefore {
			g.t.Fatalf("media after rollback of %v:\n%s\nbefore:\n%s\nlog: %q", act, got, mediaBefore, g.media.log)
		}
		if g.cx.Revision != revision {
			g.t.Fatalf("revision %d after rollback, %d before", g.cx.Revision, revision)
		}
	}
	g.mediaFollowsValues(act)
	for _, t := range g.cx.terms {
		if known, was := apart[t.ID]; was && !t.Component2 {
			g.givenUp[known]++
		}
	}
	g.media.log = nil
	return rep.Error == nil
}

// repair starts anew after an injected failure hit an effect that undoes another: then nothing can be promised.
func (g *generator) repair() {
	g.media, g.cx = newFakeMedia(g.t), New("m.b.1", 1)
}

// values is all that rollback must restore. Local credentials are left out: an ICE restart is not taken back.
func (g *generator) values() string {
	s := fmt.Sprintf("%+v", g.cx.Attr)
	for _, t := range g.cx.Terminations() {
		v := *t
		v.Local = Local{}
		s += fmt.Sprintf("\n%+v", v)
	}
	return s
}

func (g *generator) mediaFollowsValues(act *iqv1.Action) {
	want := viewOf(testEnv(), g.cx.terms, g.cx.Attr.Topology)
	if want.err != nil {
		g.t.Fatalf("unsupported topology was let in by %v: %v", act, want.err)
	}
	if len(want.terms) != len(g.media.terms) || len(want.pairs) != len(g.media.pairs) {
		g.t.Fatalf("after %v media has %d terminations and %d pairs, values %d and %d\nlog: %q",
			act, len(g.media.terms), len(g.media.pairs), len(want.terms), len(want.pairs), g.media.log)
	}
	for _, p := range want.pairs {
		if !slices.Contains(g.media.pairs, p) {
			g.t.Fatalf("pair %v is not connected", p)
		}
	}
	for _, tv := range want.terms {
		ft := g.media.term(tv.t.ID)
		if ft.kind != tv.t.Kind || ft.first != tv.t.First || len(ft.streams) != len(tv.streams) {
			g.t.Fatalf("%s: values %v, media %v", tv.t.ID, tv.t, ft)
		}
		if tv.access != nil && !reflect.DeepEqual(tv.access, ft.access) {
			g.t.Fatalf("remote of %s: values %v, media %v", tv.t.ID, tv.access, ft.access)
		}
		if ft.apart != tv.t.Component2 || ft.aside || tv.t.Apart != tv.t.Component2 {
			g.t.Fatalf("component 2 of %s after %v: values %v, media %v, put aside %v\nlog: %q", tv.t.ID, act, tv.t.Component2, ft.apart, ft.aside, g.media.log)
		}
		for _, s := range tv.streams {
			g.streamFollowsValues(tv.t.ID, s)
		}
	}
}

func (g *generator) streamFollowsValues(id gwid.TerminationID, s streamView) {
	fs := g.media.stream(id, s.ID)
	if a, b := fmt.Sprintf("%+v", s.settings), fmt.Sprintf("%+v", fs.settings); a != b {
		g.t.Fatalf("settings of %s: values %s, media %s", name(id, s.ID), a, b)
	}
	if !reflect.DeepEqual(s.Chosen, fs.chosen) {
		g.t.Fatalf("local of %s: values %v, media %v", name(id, s.ID), s.Chosen, fs.chosen)
	}
	if !reflect.DeepEqual(s.core, fs.core) {
		g.t.Fatalf("remote of %s: values %v, media %v\nlog: %q", name(id, s.ID), s.core, fs.core, g.media.log)
	}
	if !reflect.DeepEqual(s.Signals.List, fs.signals.List) {
		g.t.Fatalf("signals of %s: values %v, media %v", name(id, s.ID), s.Signals, fs.signals)
	}
}

func (g *generator) command() *iqv1.Command {
	for _, t := range g.cx.terms {
		if t.Component2 && g.IntN(4) == 0 {
			return g.multiplex(t)
		}
	}
	switch n := g.IntN(10); {
	case n < 3:
		return &iqv1.Command{Cmd: &iqv1.Command_Add{Add: &iqv1.Add{Termination: chooseRef(), Descriptor_: g.descriptor(true)}}}
	case n < 8:
		return &iqv1.Command{Cmd: &iqv1.Command_Modify{Modify: &iqv1.Modify{Termination: g.someRef(), Descriptor_: g.descriptor(false)}}}
	case n < 9:
		return &iqv1.Command{Cmd: &iqv1.Command_Subtract{Subtract: &iqv1.Subtract{Termination: g.someRef()}}}
	}
	return subtractAll()
}

// multiplex has the peer of t multiplex, which may come with more streams.
func (g *generator) multiplex(t *Termination) *iqv1.Command {
	d := &iqv1.TerminationDescriptor{Streams: streamsOf(uint32(t.First))}
	if g.IntN(2) == 0 {
		d.Streams = append(d.Streams, streamsOf(uint32(t.First)+1)...)
	}
	if g.IntN(2) == 0 {
		d.Transport = g.transport()
	}
	return modifyTo(string(t.ID), d)
}

func chooseRef() *iqv1.TerminationRef {
	return &iqv1.TerminationRef{Ref: &iqv1.TerminationRef_Choose{Choose: &emptypb.Empty{}}}
}

func subtractAll() *iqv1.Command {
	all := &iqv1.TerminationRef{Ref: &iqv1.TerminationRef_All{All: &emptypb.Empty{}}}
	return &iqv1.Command{Cmd: &iqv1.Command_Subtract{Subtract: &iqv1.Subtract{Termination: all}}}
}

// someID is mostly a termination of the context, sometimes none.
func (g *generator) someID() string {
	terms := g.cx.terms
	if len(terms) == 0 || g.IntN(12) == 0 {
		return fmt.Sprintf("ip/core/1.%d", g.cx.added+uint64(g.IntN(3)))
	}
	return string(terms[g.IntN(len(terms))].ID)
}

func (g *generator) someRef() *iqv1.TerminationRef {
	return &iqv1.TerminationRef{Ref: &iqv1.TerminationRef_Id{Id: g.someID()}}
}

func (g *generator) topology() []*iqv1.TopologyTriple {
	var out []*iqv1.TopologyTriple
	for range g.IntN(4) {
		tr := &iqv1.TopologyTriple{From: g.someID(), To: g.someID(), Direction: iqv1.TopologyTriple_Direction(g.IntN(3)), StreamId: uint32(max(0, g.IntN(8)-4))}
		if g.IntN(3) == 0 {
			tr.To = "$"
		}
		out = append(out, tr)
	}
	return out
}

func (g *generator) descriptor(add bool) *iqv1.TerminationDescriptor {
	d := &iqv1.TerminationDescriptor{}
	access := g.IntN(2) == 0
	if add {
		d.Kind, d.Realm = iqv1.TerminationDescriptor_KIND_RTP_CORE, "core"
		if access {
			d.Kind, d.Realm = iqv1.TerminationDescriptor_KIND_WEBRTC_ACCESS, "access"
			if g.IntN(3) == 0 {
				d.Realm = "component2"
			}
		}
	}
	if access && g.IntN(2) == 0 {
		d.Transport = g.transport()
	}
	ids := []uint32{1, 2, 3}
	g.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	for _, id := range ids[:1+g.IntN(6)/3+g.IntN(6)/5] {
		d.Streams = append(d.Streams, g.stream(id, access))
	}
	if d.Realm == "component2" && g.IntN(3) > 0 {
		d.Streams = d.Streams[:1]
		d.Streams[0].LocalControl = &iqv1.LocalControl{Mode: iqv1.LocalControl_Mode(g.IntN(5)), Rtcp: &iqv1.RtcpPolicy{}}
	}
	if g.IntN(4) == 0 {
		d.Events = &iqv1.EventsDescriptor{RequestId: g.Uint64N(9), Specs: []*iqv1.EventSpec{{Type: iqv1.EventType(g.IntN(10)), StreamId: uint32(g.IntN(8) / 5)}}}
	}
	if g.IntN(4) == 0 {
		d.Signals = &iqv1.SignalsDescriptor{RequestId: g.Uint64N(9)}
		for range g.IntN(3) {
			d.Signals.Signals = append(d.Signals.Signals, &iqv1.Signal{Name: [...]string{"cg/bt", "cg/rt", "dg/d1"}[g.IntN(3)], StreamId: uint32(g.IntN(8) / 5)})
		}
	}
	return d
}

func (g *generator) stream(id uint32, access bool) *iqv1.Stream {
	s := &iqv1.Stream{StreamId: id}
	if g.IntN(8) > 0 {
		s.Mid = string(rune('a' + id - uint32(g.IntN(10)/9)))
	}
	if g.IntN(8) > 0 {
		s.Local = &iqv1.MediaDescription{Codecs: g.codecs()}
	}
	if g.IntN(2) == 0 {
		s.LocalControl = &iqv1.LocalControl{Mode: iqv1.LocalControl_Mode(g.IntN(5)), Dscp: uint32(g.IntN(66))}
		if access && g.IntN(2) == 0 {
			s.LocalControl.Rtcp = &iqv1.RtcpPolicy{Mux: g.IntN(12) > 0}
		}
		if !access {
			s.LocalControl.Latch = iqv1.LocalControl_Latch(g.IntN(4))
		}
	}
	if g.IntN(2) == 0 {
		s.Remote = &iqv1.MediaDescription{Codecs: g.codecs()}
		if !access {
			s.Remote.Address, s.Remote.Port = "10.9.9.9", uint32(4000*g.IntN(3))
		} else if g.IntN(3) == 0 {
			s.Remote.Ssrc, s.Remote.HeaderExtensions = g.Uint32N(9), []*iqv1.HeaderExtension{{Id: 1 + g.Uint32N(15), Uri: midURI}}
		}
	}
	return s
}

func (g *generator) transport() *iqv1.TransportGroup {
	tg := &iqv1.TransportGroup{IceLite: true}
	if g.IntN(3) == 0 {
		tg.LocalIce = &iqv1.IceParameters{}
	}
	if g.IntN(4) > 0 {
		tg.RemoteIce = &iqv1.IceParameters{Ufrag: fmt.Sprintf("abc%d", g.IntN(3)), Pwd: "0123456789012345678901"}
	}
	if g.IntN(4) > 0 {
		value := "00"
		for range 31 {
			value += ":00"
		}
		tg.RemoteDtls = &iqv1.DtlsParameters{Role: iqv1.DtlsParameters_Role(g.IntN(3)), Fingerprints: []*iqv1.Fingerprint{{Hash: "sha-256", Value: value}}}
	}
	return tg
}

func (g *generator) codecs() []*iqv1.Codec {
	all := []codec.Codec{
		{Name: "opus", PT: 111, ClockRate: 48000, Channels: 2}, {Name: "PCMA", PT: 8, ClockRate: 8000, Channels: 1},
		{Name: "telephone-event", PT: 101, ClockRate: 8000, Channels: 1},
	}
	g.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return codecMessages(all[:len(all)-g.IntN(10)/3])
}
