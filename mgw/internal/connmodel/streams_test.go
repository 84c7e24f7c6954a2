package connmodel

import (
	"strings"
	"testing"

	"github.com/isthmus-gateway/isthmus/pkg/gwid"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// TestStreamNumbers: a stream without number is 1, in Add and Modify, in replies and in statistics; any other number stays. What is described twice, a further
// stream without codec, and events and signals of a stream that is not there are refused with code and number, and change nothing (TS 29.334 §5.7.2, H.248.8).
func TestStreamNumbers(t *testing.T) {
	codecs := []*iqv1.Codec{{Name: "PCMA", PayloadType: 8, ClockRate: 8000}}
	add := func(ids ...uint32) *iqv1.Action {
		d := &iqv1.TerminationDescriptor{Kind: iqv1.TerminationDescriptor_KIND_RTP_CORE, Realm: "core"}
		for _, id := range ids {
			d.Streams = append(d.Streams, &iqv1.Stream{StreamId: id, Local: &iqv1.MediaDescription{Codecs: codecs}})
		}
		return &iqv1.Action{Commands: []*iqv1.Command{{Cmd: &iqv1.Command_Add{Add: &iqv1.Add{
			Termination: &iqv1.TerminationRef{Ref: &iqv1.TerminationRef_Choose{}}, Descriptor_: d}}}}}
	}
	modify := func(id string, d *iqv1.TerminationDescriptor) *iqv1.Action {
		return &iqv1.Action{Commands: []*iqv1.Command{{Cmd: &iqv1.Command_Modify{Modify: &iqv1.Modify{
			Termination: &iqv1.TerminationRef{Ref: &iqv1.TerminationRef_Id{Id: id}}, Descriptor_: d}}}}}
	}
	for _, c := range []struct {
		ids  []uint32
		is   uint32
		code uint32
	}{
		{[]uint32{0}, 1, 0}, {[]uint32{1}, 1, 0}, {[]uint32{7}, 7, 0}, {[]uint32{1 << 20}, 1 << 20, 0},
		{[]uint32{1, 1}, 0, 448}, {[]uint32{0, 1}, 0, 448}, {[]uint32{1, 2, 2}, 0, 448},
	} {
		media := newFakeMedia(t)
		cx := New("c1", 1)
		rep := cx.Apply(testEnv(), add(c.ids...), media.perform)
		if rep.GetError().GetCode() != c.code {
			t.Errorf("streams %v: %v, want %d", c.ids, rep.GetError(), c.code)
		}
		if c.code != 0 {
			if !cx.Empty() {
				t.Errorf("streams %v: a termination is left", c.ids)
			}
			continue
		}
		reply := rep.GetCommands()[0]
		if got := reply.GetResolved().GetStreams()[0].GetStreamId(); got != c.is {
			t.Errorf("streams %v: reply for stream %d", c.ids, got)
		}
		id := reply.GetTerminationId()
		for _, m := range []struct {
			d    *iqv1.TerminationDescriptor
			code uint32
		}{
			{&iqv1.TerminationDescriptor{Streams: []*iqv1.Stream{{StreamId: c.ids[0], Mid: "a"}}}, 0},
			{&iqv1.TerminationDescriptor{Streams: []*iqv1.Stream{{StreamId: c.is + 1, Mid: "b"}}}, 441},
			{&iqv1.TerminationDescriptor{Streams: []*iqv1.Stream{{StreamId: c.is, Mid: "b"}, {StreamId: c.is, Mid: "c"}}}, 448},
			{&iqv1.TerminationDescriptor{Events: &iqv1.EventsDescriptor{Specs: []*iqv1.EventSpec{{Type: iqv1.EventType_EVENT_TYPE_DTMF, StreamId: c.is + 1}}}}, 449},
			{&iqv1.TerminationDescriptor{Events: &iqv1.EventsDescriptor{Specs: []*iqv1.EventSpec{{Type: iqv1.EventType_EVENT_TYPE_DTMF, StreamId: c.is}}}}, 0},
			{&iqv1.TerminationDescriptor{Signals: &iqv1.SignalsDescriptor{Signals: []*iqv1.Signal{{Name: "cg/bt", StreamId: c.is + 1}}}}, 449},
			{&iqv1.TerminationDescriptor{Signals: &iqv1.SignalsDescriptor{Signals: []*iqv1.Signal{{Name: "cg/bt", StreamId: c.is}}}}, 0},
		} {
			e := cx.Apply(testEnv(), modify(id, m.d), media.perform).GetError()
			if e.GetCode() != m.code || m.code != 0 && !strings.Contains(e.GetText(), "stream") {
				t.Errorf("%v: %v, want %d", m.d, e, m.code)
			}
		}
		if mid := cx.Terminations()[0].Stream(gwid.StreamID(c.is)).Mid; mid != "a" {
			t.Errorf("mid %q: a refused Modify has changed it", mid)
		}
		rep = cx.Apply(testEnv(), &iqv1.Action{Commands: []*iqv1.Command{{Cmd: &iqv1.Command_Subtract{Subtract: &iqv1.Subtract{
			Termination: &iqv1.TerminationRef{Ref: &iqv1.TerminationRef_All{}}}}}}}, media.perform)
		if s := rep.GetCommands()[0].GetStatistics(); len(s) != 1 || s[0].GetStreamId() != c.is {
			t.Errorf("streams %v: statistics %v", c.ids, s)
		}
	}
}
