package contexts

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/audio"
	"github.com/isthmus-gateway/isthmus/mgw/internal/flow"
	"github.com/isthmus-gateway/isthmus/pkg/freeports"
	"github.com/isthmus-gateway/isthmus/pkg/gwid"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// withStreams gives the termination of an Add streams of these numbers, each like its first.
func withStreams(cmd *iqv1.Command, ids ...uint32) *iqv1.Command {
	d := cmd.GetAdd().GetDescriptor_()
	first := d.Streams[0]
	d.Streams = nil
	for _, id := range ids {
		d.Streams = append(d.Streams, &iqv1.Stream{StreamId: id, LocalControl: first.LocalControl, Local: first.Local, Remote: first.Remote})
	}
	return cmd
}

// twoStreams makes a context of which both terminations have streams 1 and 2.
func twoStreams(t *testing.T, m *Manager, events ...*iqv1.EventSpec) (id, access, core string) {
	t.Helper()
	a := withStreams(addAccess(), 1, 2)
	a.GetAdd().GetDescriptor_().Events = &iqv1.EventsDescriptor{RequestId: 9, Specs: events}
	rep := m.Apply(&iqv1.Action{Context: chooseContext(), Atomic: true, Commands: []*iqv1.Command{a, withStreams(addCore(), 1, 2)}})
	if rep.Error != nil {
		t.Fatal(rep.Error)
	}
	return rep.ContextId, rep.Commands[0].TerminationId, rep.Commands[1].TerminationId
}

func modify(id, term string, d *iqv1.TerminationDescriptor) *iqv1.Action {
	return &iqv1.Action{Context: contextID(id), Commands: []*iqv1.Command{{Cmd: &iqv1.Command_Modify{Modify: &iqv1.Modify{
		Termination: &iqv1.TerminationRef{Ref: &iqv1.TerminationRef_Id{Id: term}}, Descriptor_: d,
	}}}}}
}

func figures(list []*iqv1.Statistics) string {
	var out []string
	for _, s := range list {
		out = append(out, fmt.Sprintf("%s/%d:%d,%d", s.TerminationId, s.StreamId, s.PacketsReceived, s.PacketsSent))
	}
	return strings.Join(out, " ")
}

// TestIQ36_StatisticsOfEachStream: Subtract and audits have them one by one, in order of number; the stream that holds an access termination's transport is
// closed last.
func TestIQ36_StatisticsOfEachStream(t *testing.T) {
	media := newFakeMedia(4)
	m := New(testConfig(newPool()), media)
	defer m.Close()
	id, access, core := twoStreams(t, m)
	if open, free, pairs := media.counts(); open != 4 || free != 2 || pairs != 2 || media.pairs[access+"#2"] != core+"#2" {
		t.Fatalf("open %d, free %d, pairs %v", open, free, media.pairs)
	}
	m.Snapshots(true, func(s Snapshot) bool {
		for i, want := range []string{fmt.Sprintf("%s/1:7,1 %[1]s/2:7,2", access), fmt.Sprintf("%s/1:7,1 %[1]s/2:7,2", core)} {
			if got := figures(s.Terminations[i].Statistics); got != want {
				t.Errorf("audit: %s, want %s", got, want)
			}
		}
		return true
	})
	rep := m.Apply(&iqv1.Action{Context: contextID(id), Commands: []*iqv1.Command{subtractAll()}})
	want := fmt.Sprintf("%s/1:8,1 %[1]s/2:8,2 %s/1:8,1 %[2]s/2:8,2", access, core)
	if got := figures(rep.Commands[0].Statistics); got != want {
		t.Errorf("Subtract: %s, want %s", got, want)
	}
	if want := []string{access + "#2", access, core + "#2", core}; !slices.Equal(media.closed, want) {
		t.Errorf("closed %v, want %v", media.closed, want)
	}
	if open, free, pairs := media.counts(); open != 0 || free != 4 || pairs != 0 || m.Terminations() != 0 {
		t.Errorf("left: open %d, free %d, pairs %d, terminations %d", open, free, pairs, m.Terminations())
	}
}

// TestStreamThatCannotBeHad: what media refuses of a further stream leaves the termination as it was, and known by its id.
func TestStreamThatCannotBeHad(t *testing.T) {
	media := newFakeMedia(2)
	m := New(testConfig(newPool()), media)
	defer m.Close()
	id, access, core := twoStreams(t, m)
	third := withStreams(addCore(), 3).GetAdd().GetDescriptor_().GetStreams()
	if rep := m.Apply(modify(id, core, &iqv1.TerminationDescriptor{Streams: third})); code(rep) != 510 || rep.Revision != 1 {
		t.Errorf("no port: %v", rep)
	}
	for err, want := range map[error]uint32{flow.ErrComponent2: 449, flow.ErrTooManyStreams: 510, flow.ErrClosed: 503, errors.New("x"): 500} {
		media.refuseStream = fmt.Errorf("ip/1: %w", err)
		if rep := m.Apply(modify(id, access, &iqv1.TerminationDescriptor{Streams: third})); code(rep) != want {
			t.Errorf("%v: %v", err, rep)
		}
	}
	if open, _, pairs := media.counts(); open != 4 || pairs != 2 || !m.HasTermination(gwid.TerminationID(core)) || len(media.closed) != 0 {
		t.Errorf("open %d, pairs %d, closed %v", open, pairs, media.closed)
	}
	// An Add of which the second stream fails leaves nothing.
	media.refuseStream = errors.New("x")
	rep := m.Apply(&iqv1.Action{Context: chooseContext(), Commands: []*iqv1.Command{withStreams(addAccess(), 1, 2)}})
	if open, _, _ := media.counts(); code(rep) != 500 || open != 4 || m.Terminations() != 2 {
		t.Errorf("Add: %v, %d open, %d terminations", rep, open, m.Terminations())
	}
}

// TestWhatTellsStreamsApartReachesMedia: MID, header extension and SSRC of the peer.
func TestWhatTellsStreamsApartReachesMedia(t *testing.T) {
	media := newFakeMedia(2)
	m := New(testConfig(newPool()), media)
	defer m.Close()
	id, access, _ := twoStreams(t, m)
	rep := m.Apply(modify(id, access, &iqv1.TerminationDescriptor{Streams: []*iqv1.Stream{{StreamId: 2, Mid: "b", Remote: &iqv1.MediaDescription{
		Codecs: []*iqv1.Codec{{PayloadType: 8, Name: "PCMA", ClockRate: 8000}}, Ssrc: 77,
		HeaderExtensions: []*iqv1.HeaderExtension{{Id: 4, Uri: "urn:ietf:params:rtp-hdrext:sdes:mid"}}}}}}))
	if rep.Error != nil {
		t.Fatal(rep.Error)
	}
	if s := media.open[access+"#2"].(*fakeStream).settings; s.MID != "b" || s.MIDExt != 4 || s.Source != 77 || s.Send.Name != "PCMA" {
		t.Errorf("stream 2: %+v", s)
	}
	if s := media.open[access].(fakeAccess).settings; s.MID != "" || s.MIDExt != 0 || s.Source != 0 || !s.Send.IsZero() {
		t.Errorf("stream 1: %+v", s)
	}
}

// TestEventsOfStreams: an observation goes out when its event is armed for its stream, with the stream's number; those of the transport whatever stream they
// were armed with, and with 0.
func TestEventsOfStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		media, p := newFakeMedia(4), newPool()
		m := New(testConfig(p), media)
		defer m.Close()
		_, access, _ := twoStreams(t, m, &iqv1.EventSpec{Type: iqv1.EventType_EVENT_TYPE_DTMF, StreamId: 2}, &iqv1.EventSpec{Type: iqv1.EventType_EVENT_TYPE_MEDIA_STARTED},
			&iqv1.EventSpec{Type: iqv1.EventType_EVENT_TYPE_DTLS_STATE, StreamId: 2})
		if s := media.open[access].(fakeAccess).settings.Armed; s&flow.DTLSConnected.Bit() == 0 || s&flow.DTMF.Bit() != 0 || s&flow.MediaStarted.Bit() == 0 {
			t.Errorf("the first stream watches for %b", s)
		}
		if s := media.open[access+"#2"].(*fakeStream).settings.Armed; s&flow.DTLSConnected.Bit() != 0 || s&flow.DTMF.Bit() == 0 || s&flow.MediaStarted.Bit() == 0 {
			t.Errorf("the second stream watches for %b", s)
		}
		for _, e := range []struct {
			kind   flow.EventKind
			stream uint32
		}{{flow.DTMF, 1}, {flow.DTMF, 2}, {flow.MediaStarted, 1}, {flow.MediaStarted, 2}, {flow.DTLSConnected, 0}, {flow.ConsentLost, 0}, {flow.MediaInactive, 1}} {
			ev := event(media, access, e.kind)
			ev.Stream = e.stream
			m.Event(ev)
			synctest.Wait()
		}
		var got []string
		for _, r := range p.deliveries() {
			got = append(got, fmt.Sprintf("%s@%d", strings.TrimPrefix(r.Events[0].Type.String(), "EVENT_TYPE_"), r.Events[0].StreamId))
		}
		if want := "DTMF@2 MEDIA_STARTED@1 MEDIA_STARTED@2 DTLS_STATE@0"; strings.Join(got, " ") != want {
			t.Errorf("told %v, want %s", got, want)
		}
	})
}

// TestSignalsOfStreamsReachMedia: each stream plays its own, and ends by itself.
func TestSignalsOfStreamsReachMedia(t *testing.T) {
	media, p := newFakeMedia(4), newPool()
	m := New(testConfig(p), media)
	defer m.Close()
	id, access, _ := twoStreams(t, m, &iqv1.EventSpec{Type: iqv1.EventType_EVENT_TYPE_SIGNAL_COMPLETED})
	rep := m.Apply(playOn(id, access, &iqv1.SignalsDescriptor{RequestId: 5, Signals: []*iqv1.Signal{
		{Name: "cg/rt"}, {Name: "cg/bt", StreamId: 2, NotifyCompletion: true}, {Name: "dg/d5", StreamId: 2},
	}}))
	if rep.Error != nil {
		t.Fatal(rep.Error)
	}
	names := func(list []flow.Signals) (out []string) {
		for _, it := range list[len(list)-1].List {
			out = append(out, it.Name)
		}
		return out
	}
	second := media.open[access+"#2"].(*fakeStream)
	if one, two := names(media.open[access].(fakeAccess).played), names(second.played); fmt.Sprint(one, two) != "[cg/rt] [cg/bt dg/d5]" {
		t.Errorf("played %v, %v", one, two)
	}
	done := flow.SignalEnd{Done: audio.Done{Item: second.played[0].List[0], How: audio.ByItself}, Last: true}
	m.Event(flow.Event{Endpoint: media.endpoint(access), Kind: flow.SignalDone, Stream: 2, At: time.Now(), Signal: done})
	<-p.arrived
	if e := p.deliveries()[0].Events[0]; e.StreamId != 2 || e.Params["signal"] != "cg/bt" {
		t.Errorf("told %v", e)
	}
	s, _ := m.Snapshot(gwid.ContextID(id), false)
	if left := s.Terminations[0].Descriptor().GetSignals().GetSignals(); len(left) != 1 || left[0].Name != "cg/rt" {
		t.Errorf("still playing: %v", left)
	}
}

// TestIQ35_OneWorkerForAllStreams: with the real packet path the streams of a context can all be connected, however the terminations come: a browser with
// one transport, one without BUNDLE (two access terminations), the core first. Each stream has an SSRC and, at the core, ports of its own; those of one
// termination have one CNAME (RFC 7022 §4).
func TestIQ35_OneWorkerForAllStreams(t *testing.T) {
	loop := netip.MustParseAddr("127.0.0.1")
	low, high := freeports.UDPRange(t, 50)
	e, err := flow.New(flow.Config{Workers: 3, Access: []flow.AccessRealm{{Name: "access", Listen: loop}},
		Core: []flow.CoreRealm{{Name: "core", Listen: loop, PortMin: low, PortMax: high}}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = e.Close() }()
	m := New(testConfig(newPool()), Engine(e))
	defer m.Close()
	for name, cmds := range map[string][]*iqv1.Command{
		"one transport":  {withStreams(addAccess(), 1, 2, 3), withStreams(addCore(), 1, 2, 3)},
		"without BUNDLE": {withStreams(addAccess(), 1), withStreams(addAccess(), 2), withStreams(addCore(), 1, 2)},
		"the core first": {withStreams(addCore(), 2, 1), withStreams(addAccess(), 1, 2)},
	} {
		for range 3 { // the workers take turns
			rep := m.Apply(&iqv1.Action{Context: chooseContext(), Atomic: true, Commands: cmds})
			if rep.Error != nil {
				t.Fatalf("%s: %v", name, rep)
			}
			ssrcs, ports := map[uint32]bool{}, map[uint32]bool{}
			streams, lines := 0, 0
			for _, c := range rep.Commands {
				cname := c.Resolved.Streams[0].Local.Cname
				for _, s := range c.Resolved.Streams {
					ssrcs[s.Local.Ssrc] = true
					streams++
					if s.Local.Port != 0 {
						lines++
						ports[s.Local.Port] = true
					}
					if s.Local.Cname != cname || cname == "" {
						t.Errorf("%s: CNAMEs %q and %q in %s", name, cname, s.Local.Cname, c.TerminationId)
					}
				}
			}
			if len(ssrcs) != streams || len(ports) != lines || lines < 2 {
				t.Errorf("%s: %d SSRCs of %d streams, %d ports of %d", name, len(ssrcs), streams, len(ports), lines)
			}
		}
	}
	m.ReleaseAll("test")
	if c := e.Counters(); c.PortPairs != 0 || c.Accesses != 0 || c.Cores != 0 {
		t.Errorf("left: %+v", c)
	}
}

// TestNoPortForTheLastStream: with the real packet path an action of which the last stream finds no port leaves none of those before it: their ports are
// free, a transaction with fewer has them, and the browser's streams of it are gone.
func TestNoPortForTheLastStream(t *testing.T) {
	loop := netip.MustParseAddr("127.0.0.1")
	low, high := freeports.UDPPairs(t, 3)
	e, err := flow.New(flow.Config{Workers: 1, Access: []flow.AccessRealm{{Name: "access", Listen: loop}},
		Core:   []flow.CoreRealm{{Name: "core", Listen: loop, PortMin: low, PortMax: high}},
		Timers: flow.Timers{Quarantine: time.Nanosecond}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = e.Close() }()
	m := New(testConfig(newPool()), Engine(e))
	defer m.Close()
	rep := m.Apply(&iqv1.Action{Context: chooseContext(), Atomic: true, Commands: []*iqv1.Command{withStreams(addAccess(), 1), withStreams(addCore(), 1)}})
	if rep.Error != nil {
		t.Fatal(rep)
	}
	id, access, core := rep.ContextId, rep.Commands[0].TerminationId, rep.Commands[1].TerminationId
	more := func(ids ...uint32) *iqv1.ActionReply {
		streams := withStreams(addCore(), ids...).GetAdd().GetDescriptor_().GetStreams()
		act := modify(id, access, &iqv1.TerminationDescriptor{Streams: withStreams(addAccess(), ids...).GetAdd().GetDescriptor_().GetStreams()})
		act.Atomic = true
		act.Commands = append(act.Commands, modify(id, core, &iqv1.TerminationDescriptor{Streams: streams}).Commands...)
		return m.Apply(act)
	}
	for range 3 {
		if rep := more(2, 3, 4); code(rep) != 510 {
			t.Fatalf("three more streams: %v", rep)
		}
		s, _ := m.Snapshot(gwid.ContextID(id), true)
		for _, x := range s.Terminations {
			if len(x.Streams) != 1 || len(x.Statistics) != 1 {
				t.Errorf("%s: %d streams, %d statistics", x.ID, len(x.Streams), len(x.Statistics))
			}
		}
		if c := e.Counters(); c.PortPairs != 1 {
			t.Errorf("%d pairs of ports in use", c.PortPairs)
		}
	}
	if rep := more(2, 3); rep.Error != nil {
		t.Fatalf("two more streams: %v", rep)
	}
	m.ReleaseAll("test")
	if c := e.Counters(); c.PortPairs != 0 || c.Accesses != 0 || c.Cores != 0 {
		t.Errorf("left: %+v", c)
	}
}
