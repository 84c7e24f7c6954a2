package connmodel

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/isthmus-gateway/isthmus/pkg/codec"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// onlyG711 plans like a gateway that codes nothing but G.711.
func onlyG711(from, to codec.Codec) (*iqv1.MediaPath, error) {
	switch {
	case from.SameFormat(to):
		return &iqv1.MediaPath{Kind: iqv1.MediaPath_KIND_RELAY, From: from.Name, To: to.Name}, nil
	case strings.HasPrefix(from.Name, "PCM") && strings.HasPrefix(to.Name, "PCM"):
		return &iqv1.MediaPath{Kind: iqv1.MediaPath_KIND_TRANSCODE, From: from.Name, To: to.Name}, nil
	}
	return nil, errors.New(from.Name + " to " + to.Name + " cannot be coded")
}

func codecsOf(names ...string) []*iqv1.Codec {
	var out []*iqv1.Codec
	for i, n := range names {
		out = append(out, &iqv1.Codec{PayloadType: uint32(96 + i), Name: n, ClockRate: 8000})
	}
	return out
}

func addOf(kind iqv1.TerminationDescriptor_Kind, recv, send []string) *iqv1.Command {
	realm := map[iqv1.TerminationDescriptor_Kind]string{iqv1.TerminationDescriptor_KIND_WEBRTC_ACCESS: "access", iqv1.TerminationDescriptor_KIND_RTP_CORE: "core"}[kind]
	return &iqv1.Command{Cmd: &iqv1.Command_Add{Add: &iqv1.Add{
		Termination: &iqv1.TerminationRef{Ref: &iqv1.TerminationRef_Choose{Choose: &emptypb.Empty{}}},
		Descriptor_: &iqv1.TerminationDescriptor{Kind: kind, Realm: realm, Streams: []*iqv1.Stream{streamOf(recv, send)}},
	}}}
}

func streamOf(recv, send []string) *iqv1.Stream {
	s := &iqv1.Stream{StreamId: 1, Local: &iqv1.MediaDescription{Codecs: codecsOf(recv...)}}
	if send != nil {
		s.Remote = &iqv1.MediaDescription{Codecs: codecsOf(send...)}
	}
	return s
}

func modifyOf(id string, recv, send []string) *iqv1.Command {
	return &iqv1.Command{Cmd: &iqv1.Command_Modify{Modify: &iqv1.Modify{
		Termination: &iqv1.TerminationRef{Ref: &iqv1.TerminationRef_Id{Id: id}},
		Descriptor_: &iqv1.TerminationDescriptor{Streams: []*iqv1.Stream{streamOf(recv, send)}},
	}}}
}

const (
	webAccess = iqv1.TerminationDescriptor_KIND_WEBRTC_ACCESS
	rtpCore   = iqv1.TerminationDescriptor_KIND_RTP_CORE
)

// A pair of codecs between which nothing can be done is refused by name, and nothing of it is left; what can be done is told.
func TestIQ37_IQ18_CodecsThatCannotBeJoined(t *testing.T) {
	media := newFakeMedia(t)
	cx := New("mgw1.b1.7", 7)
	env := testEnv()
	env.Plan = onlyG711
	apply := func(atomic bool, cmds ...*iqv1.Command) *iqv1.ActionReply {
		return cx.Apply(env, &iqv1.Action{Atomic: atomic, Commands: cmds}, media.perform)
	}
	refused := func(rep *iqv1.ActionReply, words ...string) {
		t.Helper()
		if rep.GetError().GetCode() != 449 {
			t.Fatalf("want 449, got %v", rep)
		}
		for _, w := range words {
			if !strings.Contains(rep.GetError().GetText(), w) {
				t.Errorf("%q is not in %q", w, rep.GetError().GetText())
			}
		}
	}
	evs, pcma := []string{"EVS", "telephone-event"}, []string{"PCMA", "telephone-event"}

	rep := apply(true, addOf(webAccess, pcma, nil), addOf(rtpCore, evs, evs))
	refused(rep, "PCMA", "EVS", "ip/access/7.1", "ip/core/7.2")
	if !cx.Empty() || len(media.terms) != 0 || len(media.pairs) != 0 || rep.GetContextId() != "" || rep.GetCommands()[1].GetError().GetCode() != 449 {
		t.Errorf("left: %v, %v; %v", media.terms, media.pairs, rep)
	}
	// One of several formats is enough: which it will be shows the answer.
	rep = apply(true, addOf(webAccess, []string{"EVS", "PCMA"}, nil), addOf(rtpCore, evs, evs))
	if rep.GetError() != nil || rep.GetCommands()[0].GetPath().GetKind() != iqv1.MediaPath_KIND_RELAY || rep.GetCommands()[1].GetPath() != nil {
		t.Fatalf("%v", rep)
	}
	access, core := rep.GetCommands()[0].GetTerminationId(), rep.GetCommands()[1].GetTerminationId()

	before := fmt.Sprint(media.stream(cx.terms[0].ID, 1).settings, media.stream(cx.terms[1].ID, 1).settings)
	refused(apply(true, modifyOf(access, pcma, pcma)), "PCMA to EVS")
	refused(apply(false, modifyOf(access, pcma, pcma)), "PCMA to EVS")
	if now := fmt.Sprint(media.stream(cx.terms[0].ID, 1).settings, media.stream(cx.terms[1].ID, 1).settings); now != before || cx.Revision != 1 {
		t.Errorf("media has %s, before %s; revision %d", now, before, cx.Revision)
	}
	// Both sides at once pass through a state that could not stay.
	rep = apply(true, modifyOf(access, pcma, pcma), modifyOf(core, []string{"PCMU"}, []string{"PCMU"}))
	for i, from := range []string{"PCMA", "PCMU"} {
		if p := rep.GetCommands()[i].GetPath(); rep.GetError() != nil || p.GetKind() != iqv1.MediaPath_KIND_TRANSCODE || p.GetFrom() != from {
			t.Errorf("%v", rep)
		}
	}
	// Terminations that do not hear each other may have anything.
	isolate := func(d iqv1.TopologyTriple_Direction) *iqv1.Action {
		return &iqv1.Action{Attributes: &iqv1.ContextAttributes{Topology: []*iqv1.TopologyTriple{{From: access, To: core, Direction: d}}}}
	}
	if rep := cx.Apply(env, isolate(iqv1.TopologyTriple_DIRECTION_ISOLATE), media.perform); rep.GetError() != nil {
		t.Fatal(rep)
	}
	if rep := apply(false, modifyOf(core, evs, evs)); rep.GetError() != nil || rep.GetCommands()[0].GetPath() != nil {
		t.Fatal(rep)
	}
	refused(cx.Apply(env, isolate(iqv1.TopologyTriple_DIRECTION_BOTHWAY), media.perform), "EVS", "PCMA")
	if len(media.pairs) != 0 || len(cx.Attr.Topology) != 1 || cx.Attr.Topology[0].Direction != Isolate {
		t.Errorf("connected: %v, %v", media.pairs, cx.Attr.Topology)
	}
}

// An optional element that is not there is 445 or 501, a value that cannot be used 449 with the value in the text (TS 29.334 §5.2, §5.17.1).
func TestIQ37_ElementsAndValues(t *testing.T) {
	core := func(change func(*iqv1.Stream, *iqv1.TerminationDescriptor)) *iqv1.Command {
		c := addOf(rtpCore, []string{"PCMA"}, []string{"PCMA"})
		change(c.GetAdd().GetDescriptor_().GetStreams()[0], c.GetAdd().GetDescriptor_())
		return c
	}
	for name, c := range map[string]struct {
		cmd  *iqv1.Command
		code uint32
		text string
	}{
		"an element that this kind has not": {core(func(_ *iqv1.Stream, d *iqv1.TerminationDescriptor) { d.Transport = &iqv1.TransportGroup{} }), 445, "transport on a rtp-core termination"},
		"too many streams": {core(func(s *iqv1.Stream, d *iqv1.TerminationDescriptor) {
			for i := range uint32(32) {
				d.Streams = append(d.Streams, &iqv1.Stream{StreamId: s.GetStreamId() + 1 + i, Local: s.GetLocal()})
			}
		}), 449, "33 streams"},
		"a stream twice":     {core(func(s *iqv1.Stream, d *iqv1.TerminationDescriptor) { d.Streams = append(d.Streams, s) }), 448, "stream 1 twice"},
		"a command":          {&iqv1.Command{Cmd: &iqv1.Command_Move{Move: &iqv1.Move{}}}, 501, "Move"},
		"a realm":            {core(func(_ *iqv1.Stream, d *iqv1.TerminationDescriptor) { d.Realm = "moon" }), 449, `"moon"`},
		"a protocol":         {core(func(s *iqv1.Stream, _ *iqv1.TerminationDescriptor) { s.Local.Proto = "RTP/TURBO" }), 449, `"RTP/TURBO"`},
		"a packet time":      {core(func(s *iqv1.Stream, _ *iqv1.TerminationDescriptor) { s.Remote.PtimeMs = 241 }), 449, "241"},
		"a class of service": {core(func(s *iqv1.Stream, _ *iqv1.TerminationDescriptor) { s.LocalControl = &iqv1.LocalControl{Dscp: 64} }), 449, "64"},
		"a way of latching": {core(func(s *iqv1.Stream, _ *iqv1.TerminationDescriptor) {
			s.LocalControl = &iqv1.LocalControl{Latch: 77}
		}), 449, "77"},
	} {
		media, cx := newFakeMedia(t), New("mgw1.b1.7", 7)
		rep := cx.Apply(testEnv(), &iqv1.Action{Atomic: true, Commands: []*iqv1.Command{c.cmd}}, media.perform)
		if e := rep.GetError(); e.GetCode() != c.code || !strings.Contains(e.GetText(), c.text) {
			t.Errorf("%s: want %d with %q, got %v", name, c.code, c.text, e)
		}
		if !cx.Empty() || len(media.terms) != 0 {
			t.Errorf("%s: something is left", name)
		}
	}
}
