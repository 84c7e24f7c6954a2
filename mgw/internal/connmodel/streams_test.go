package connmodel

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/isthmus-gateway/isthmus/pkg/gwid"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// streamsBed is a context with its media, for actions in a word.
type streamsBed struct {
	t     *testing.T
	media *fakeMedia
	cx    *Context
}

func newStreamsBed(t *testing.T) *streamsBed {
	return &streamsBed{t: t, media: newFakeMedia(t), cx: New("c1", 1)}
}

func (b *streamsBed) do(cmds ...*iqv1.Command) *iqv1.ActionReply {
	return b.cx.Apply(testEnv(), &iqv1.Action{Commands: cmds}, b.media.perform)
}

var onlyPCMA = &iqv1.MediaDescription{Codecs: []*iqv1.Codec{{Name: "PCMA", PayloadType: 8, ClockRate: 8000}}}

func streamsOf(ids ...uint32) (out []*iqv1.Stream) {
	for _, id := range ids {
		out = append(out, &iqv1.Stream{StreamId: id, Local: onlyPCMA, LocalControl: &iqv1.LocalControl{Mode: iqv1.LocalControl_MODE_SENDRECV, Rtcp: &iqv1.RtcpPolicy{Mux: true}}})
	}
	return out
}

func addStreams(kind iqv1.TerminationDescriptor_Kind, streams ...*iqv1.Stream) *iqv1.Command {
	realm := map[iqv1.TerminationDescriptor_Kind]string{webAccess: "access", rtpCore: "core"}[kind]
	return &iqv1.Command{Cmd: &iqv1.Command_Add{Add: &iqv1.Add{
		Termination: chooseRef(), Descriptor_: &iqv1.TerminationDescriptor{Kind: kind, Realm: realm, Streams: streams}}}}
}

func modifyTo(id string, d *iqv1.TerminationDescriptor) *iqv1.Command {
	return &iqv1.Command{Cmd: &iqv1.Command_Modify{Modify: &iqv1.Modify{
		Termination: &iqv1.TerminationRef{Ref: &iqv1.TerminationRef_Id{Id: id}}, Descriptor_: d}}}
}

func streamIDs(list []*iqv1.Stream) (out []uint32) {
	for _, s := range list {
		out = append(out, s.GetStreamId())
	}
	return out
}

// TestStreamNumbers: a stream without number is 1, in Add and Modify, in replies and in statistics; any other number stays. What is described twice, a
// further stream without codec, and events and signals of a stream that is not there are refused with code and number, and change nothing (TS 29.334 §5.7.2,
// H.248.8).
func TestStreamNumbers(t *testing.T) {
	for _, c := range []struct {
		ids  []uint32
		is   []uint32
		code uint32
	}{
		{[]uint32{0}, []uint32{1}, 0}, {[]uint32{1}, []uint32{1}, 0}, {[]uint32{7}, []uint32{7}, 0}, {[]uint32{1 << 20}, []uint32{1 << 20}, 0},
		{[]uint32{0, 2}, []uint32{1, 2}, 0}, {[]uint32{9, 0, 1 << 31}, []uint32{1, 9, 1 << 31}, 0},
		{[]uint32{1, 1}, nil, 448}, {[]uint32{0, 1}, nil, 448}, {[]uint32{1, 2, 2}, nil, 448},
	} {
		b := newStreamsBed(t)
		rep := b.do(addStreams(rtpCore, streamsOf(c.ids...)...))
		if rep.GetError().GetCode() != c.code {
			t.Errorf("streams %v: %v, want %d", c.ids, rep.GetError(), c.code)
		}
		if c.code != 0 {
			if !b.cx.Empty() {
				t.Errorf("streams %v: a termination is left", c.ids)
			}
			continue
		}
		reply := rep.GetCommands()[0]
		if got := streamIDs(reply.GetResolved().GetStreams()); !slices.Equal(got, c.is) {
			t.Errorf("streams %v: reply for streams %v", c.ids, got)
		}
		id, last := reply.GetTerminationId(), c.is[len(c.is)-1]
		for _, m := range []struct {
			d    *iqv1.TerminationDescriptor
			code uint32
		}{
			{&iqv1.TerminationDescriptor{Streams: []*iqv1.Stream{{StreamId: c.ids[0], Mid: "a"}}}, 0},
			{&iqv1.TerminationDescriptor{Streams: []*iqv1.Stream{{StreamId: last + 1, Mid: "b"}}}, 441},
			{&iqv1.TerminationDescriptor{Streams: []*iqv1.Stream{{StreamId: last, Mid: "b"}, {StreamId: last, Mid: "c"}}}, 448},
			{&iqv1.TerminationDescriptor{Events: &iqv1.EventsDescriptor{Specs: []*iqv1.EventSpec{{Type: iqv1.EventType_EVENT_TYPE_DTMF, StreamId: last + 1}}}}, 449},
			{&iqv1.TerminationDescriptor{Events: &iqv1.EventsDescriptor{Specs: []*iqv1.EventSpec{{Type: iqv1.EventType_EVENT_TYPE_DTMF, StreamId: last}}}}, 0},
			{&iqv1.TerminationDescriptor{Signals: &iqv1.SignalsDescriptor{Signals: []*iqv1.Signal{{Name: "cg/bt", StreamId: last + 1}}}}, 449},
			{&iqv1.TerminationDescriptor{Signals: &iqv1.SignalsDescriptor{Signals: []*iqv1.Signal{{Name: "cg/bt", StreamId: last}}}}, 0},
		} {
			e := b.do(modifyTo(id, m.d)).GetError()
			if e.GetCode() != m.code || m.code != 0 && !strings.Contains(e.GetText(), "stream") {
				t.Errorf("%v: %v, want %d", m.d, e, m.code)
			}
		}
		if mid := b.cx.Terminations()[0].Stream(gwid.StreamID(max(c.ids[0], 1))).Mid; mid != "a" {
			t.Errorf("mid %q: a refused Modify has changed it", mid)
		}
		var counted []uint32
		for _, s := range b.do(subtractAll()).GetCommands()[0].GetStatistics() {
			counted = append(counted, s.GetStreamId())
		}
		if !slices.Equal(counted, c.is) {
			t.Errorf("streams %v: statistics of %v", c.ids, counted)
		}
	}
}

// TestIQ35_AsManyStreamsAsLines: a termination of either kind takes as many streams as there are m= lines, at Add or one by one, up to 32; each is opened
// once, answered with what is its own, told its own properties and peer, connected to the one of its number and counted by itself. What concerns one leaves
// the others alone. A 33rd is refused and leaves all as it was.
func TestIQ35_AsManyStreamsAsLines(t *testing.T) {
	b := newStreamsBed(t)
	rep := b.do(addStreams(webAccess, streamsOf(0)...), addStreams(rtpCore, streamsOf(0)...))
	if rep.GetError() != nil || !slices.Equal(streamIDs(rep.GetCommands()[0].GetResolved().GetStreams()), []uint32{1}) {
		t.Fatalf("one stream: %v", rep)
	}
	access, core := rep.GetCommands()[0].GetTerminationId(), rep.GetCommands()[1].GetTerminationId()
	for id := uint32(2); id <= maxStreams; id++ {
		b.media.log = nil
		s := streamsOf(id)
		s[0].Remote = &iqv1.MediaDescription{Codecs: onlyPCMA.GetCodecs(), Address: "192.0.2.1", Port: 5000 + 2*id}
		rep := b.do(modifyTo(access, &iqv1.TerminationDescriptor{Streams: streamsOf(id)}), modifyTo(core, &iqv1.TerminationDescriptor{Streams: s}))
		if rep.GetError() != nil {
			t.Fatalf("stream %d: %v", id, rep)
		}
		for _, c := range rep.GetCommands() {
			if got := c.GetResolved().GetStreams(); len(got) != 1 || got[0].GetStreamId() != id || got[0].GetLocal().GetSsrc() == 0 || c.GetResolved().GetTransport() != nil {
				t.Fatalf("stream %d: resolved %v", id, got)
			}
		}
		a, c := name(gwid.TerminationID(access), gwid.StreamID(id)), name(gwid.TerminationID(core), gwid.StreamID(id))
		for i, want := range []string{"NewStream " + a, "Configure " + a, "NewCore " + c, "Configure " + c, fmt.Sprintf("SetCoreRemote %s rtp=192.0.2.1:%d", c, 5000+2*id), "Connect " + a + " " + c} {
			if i >= len(b.media.log) || !strings.HasPrefix(b.media.log[i], want) {
				t.Fatalf("stream %d: effect %d is not %q in %q", id, i, want, b.media.log)
			}
		}
		if len(b.media.log) != 6 {
			t.Fatalf("stream %d: other streams are touched: %q", id, b.media.log)
		}
	}
	ports := map[uint32]bool{}
	for _, s := range b.cx.Terminations()[1].Descriptor().GetStreams() {
		ports[s.GetLocal().GetPort()] = true
	}
	if len(ports) != maxStreams || len(b.media.pairs) != maxStreams {
		t.Fatalf("%d pairs of ports, %d connections", len(ports), len(b.media.pairs))
	}
	before := b.media.snapshot()
	for _, id := range []string{access, core} {
		if e := b.do(modifyTo(id, &iqv1.TerminationDescriptor{Streams: streamsOf(33)})).GetError(); e.GetCode() != 449 || !strings.Contains(e.GetText(), "stream 33: the termination has 32 streams") {
			t.Errorf("a 33rd: %v", e)
		}
	}
	if after := b.media.snapshot(); after != before {
		t.Errorf("a refused stream changed media:\n%s\nbefore:\n%s", after, before)
	}
	st := b.do(subtractAll()).GetCommands()[0].GetStatistics()
	if len(st) != 2*maxStreams || st[31].GetStreamId() != 32 || st[32].GetStreamId() != 1 || st[32].GetTerminationId() != core || len(b.media.terms) != 0 {
		t.Errorf("%d statistics: %v", len(st), st)
	}
}

// TestRFC9143_15_HeaderExtensions: what of a=extmap is taken, refused and shown, and what of it the packet path is told.
func TestRFC9143_15_HeaderExtensions(t *testing.T) {
	const mid = "urn:ietf:params:rtp-hdrext:sdes:mid"
	with := func(mid string, list ...*iqv1.HeaderExtension) *iqv1.Stream {
		s := streamsOf(1)[0]
		s.Mid, s.Remote = mid, &iqv1.MediaDescription{Codecs: onlyPCMA.GetCodecs(), Ssrc: 77, HeaderExtensions: list}
		return s
	}
	ext := func(id uint32, uri string) *iqv1.HeaderExtension { return &iqv1.HeaderExtension{Id: id, Uri: uri} }
	var fifteen []*iqv1.HeaderExtension
	for i := range uint32(15) {
		fifteen = append(fifteen, ext(i+1, "urn:x"))
	}
	long := strings.Repeat("u", 100)
	for name, c := range map[string]struct {
		s    *iqv1.Stream
		code uint32
		text string
		told string
	}{
		"agreed":              {s: with("0", ext(9, "urn:x"), ext(4, mid)), told: `"0" 4 77`},
		"the longest":         {s: with(strings.Repeat("m", 16), ext(14, mid)), told: `"mmmmmmmmmmmmmmmm" 14 77`},
		"not agreed":          {s: with("0", ext(1, "urn:x")), told: `"" 0 77`},
		"as many as there be": {s: with("0", fifteen[:14]...), told: `"" 0 77`},
		"a long URI":          {s: with("0", ext(1, long)), told: `"" 0 77`},
		"MID too long":        {s: with(strings.Repeat("m", 17), ext(4, mid)), code: 449, text: "1 to 16 octets"},
		"no MID":              {s: with("", ext(4, mid)), code: 449, text: `stream 1: mid ""`},
		"too many":            {s: with("0", fifteen...), code: 449, text: "15 header_extensions, at most 14"},
		"id 0":                {s: with("0", ext(0, mid)), code: 442, text: "header extension 0"},
		"id 15":               {s: with("0", ext(15, mid)), code: 442, text: "header extension 15"},
		"id twice":            {s: with("0", ext(3, mid), ext(3, "urn:x")), code: 442, text: "header extension 3 twice"},
		"no URI":              {s: with("0", ext(3, "")), code: 442, text: "header extension 3 without URI"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newStreamsBed(t)
			rep := b.do(addStreams(webAccess, c.s))
			if e := rep.GetError(); e.GetCode() != c.code || !strings.Contains(e.GetText(), c.text) {
				t.Fatalf("%v, want %d with %q", e, c.code, c.text)
			}
			if c.code != 0 {
				return
			}
			term := b.cx.Terminations()[0]
			s := b.media.stream(term.ID, 1).settings
			if got := fmt.Sprintf("%q %d %d", s.MID, s.MIDExt, s.Source); got != c.told {
				t.Errorf("media was told %s, want %s", got, c.told)
			}
			shown := term.Descriptor().GetStreams()[0].GetRemote().GetHeaderExtensions()
			for i, x := range c.s.GetRemote().GetHeaderExtensions() {
				if shown[i].GetId() != x.GetId() || shown[i].GetUri() != Clip(x.GetUri()) {
					t.Errorf("an audit shows %v", shown)
				}
			}
		})
	}
	// A core stream has them too, and nothing comes of it.
	core := with("", ext(4, mid))
	core.Remote.Address, core.Remote.Port = "192.0.2.1", 4000
	b := newStreamsBed(t)
	rep := b.do(addStreams(rtpCore, core))
	if s := b.media.stream("ip/core/1.1", 1).settings; rep.GetError() != nil || s.MID != "" || s.MIDExt != 0 || s.Source != 0 {
		t.Errorf("core: %v, %+v", rep, s)
	}
}

// TestMIDsDiffer: two streams of one transport have not the same MID (RFC 5888 §4); without one there may be many, and another termination may have it.
func TestMIDsDiffer(t *testing.T) {
	mids := func(list ...string) []*iqv1.Stream {
		out := streamsOf(1, 2, 3)[:len(list)]
		for i, m := range list {
			out[i].Mid = m
		}
		return out
	}
	b := newStreamsBed(t)
	if rep := b.do(addStreams(webAccess, mids("a", "", "")...), addStreams(rtpCore, mids("a", "a")...)); rep.GetError() != nil {
		t.Fatal(rep)
	}
	if e := b.do(modifyTo("ip/access/1.1", &iqv1.TerminationDescriptor{Streams: []*iqv1.Stream{{StreamId: 3, Mid: "a"}}})).GetError(); e.GetCode() != 449 || !strings.Contains(e.GetText(), `stream 3: mid "a" is that of stream 1`) {
		t.Errorf("the same MID: %v", e)
	}
	// Two that change places.
	b.do(modifyTo("ip/access/1.1", &iqv1.TerminationDescriptor{Streams: []*iqv1.Stream{{StreamId: 2, Mid: "b"}}}))
	if e := b.do(modifyTo("ip/access/1.1", &iqv1.TerminationDescriptor{Streams: mids("b", "a")})).GetError(); e != nil {
		t.Errorf("exchanged: %v", e)
	}
}

// TestSignalsOfStreams: a stream whose signals have ended is silent in audits, the others play on; a name that is no stream's, or a request before, ends
// nothing.
func TestSignalsOfStreams(t *testing.T) {
	b := newStreamsBed(t)
	b.do(addStreams(webAccess, streamsOf(4, 2)...))
	sig := func(request uint64, list ...*iqv1.Signal) {
		t.Helper()
		d := &iqv1.TerminationDescriptor{Signals: &iqv1.SignalsDescriptor{RequestId: request, Signals: list}}
		if rep := b.do(modifyTo("ip/access/1.1", d)); rep.GetError() != nil {
			t.Fatal(rep)
		}
	}
	playing := func() string {
		m := b.cx.Terminations()[0].Descriptor().GetSignals()
		out := fmt.Sprint(m.GetRequestId())
		for _, s := range m.GetSignals() {
			out += fmt.Sprintf(" %s@%d", s.GetName(), s.GetStreamId())
		}
		return out
	}
	expect := func(want string) {
		t.Helper()
		if got := playing(); got != want {
			t.Errorf("audit shows %q, want %q", got, want)
		}
	}
	sig(5, &iqv1.Signal{Name: "cg/rt", StreamId: 4}, &iqv1.Signal{Name: "cg/bt"}, &iqv1.Signal{Name: "dg/d1", StreamId: 4})
	expect("5 cg/bt@0 cg/rt@4 dg/d1@4")
	b.cx.Ended("ip/access/1.1", 3, 5)
	b.cx.Ended("ip/access/1.9", 2, 5)
	b.cx.Ended("ip/access/1.1", 2, 4)
	expect("5 cg/bt@0 cg/rt@4 dg/d1@4")
	held := b.cx.Terminations()[0] // by an audit
	b.cx.Ended("ip/access/1.1", 4, 5)
	expect("5 cg/bt@0")
	if got := len(held.Stream(4).Signals.List); got != 2 {
		t.Errorf("a value that was handed out has changed: %d signals", got)
	}
	sig(6, &iqv1.Signal{Name: "cg/ct", StreamId: 4})
	expect("6 cg/ct@4")
	if got := len(b.media.stream("ip/access/1.1", 2).signals.List); got != 0 {
		t.Errorf("stream 2 goes on with %d signals", got)
	}
	b.cx.Ended("ip/access/1.1", 4, 6)
	expect("0")
}

// TestPathsOfStreams: the reply has a path for each stream of several, and the first as the one; a pair of codecs that cannot be joined is refused with its
// stream.
func TestPathsOfStreams(t *testing.T) {
	b := newStreamsBed(t)
	env := testEnv()
	env.Plan = onlyG711
	stream := func(id uint32, recv, send string) *iqv1.Stream {
		s := streamOf([]string{recv}, []string{send})
		s.StreamId = id
		return s
	}
	rep := b.cx.Apply(env, &iqv1.Action{Atomic: true, Commands: []*iqv1.Command{
		addStreams(webAccess, stream(1, "EVS", "EVS"), stream(2, "PCMA", "PCMA"), stream(3, "PCMA", "PCMA")),
		addStreams(rtpCore, stream(2, "PCMU", "PCMU"), stream(3, "PCMA", "PCMA"))}}, b.media.perform)
	if rep.GetError() != nil {
		t.Fatal(rep)
	}
	for i, want := range []string{"2 TRANSCODE PCMA, 3 RELAY PCMA", "2 TRANSCODE PCMU, 3 RELAY PCMA"} {
		c := rep.GetCommands()[i]
		var got []string
		for _, p := range c.GetPaths() {
			got = append(got, fmt.Sprintf("%d %s %s", p.GetStreamId(), strings.TrimPrefix(p.GetKind().String(), "KIND_"), p.GetFrom()))
		}
		if strings.Join(got, ", ") != want || c.GetPath().GetStreamId() != 2 {
			t.Errorf("command %d: %q, the one is of stream %d; want %q", i+1, got, c.GetPath().GetStreamId(), want)
		}
	}
	e := b.cx.Apply(env, &iqv1.Action{Atomic: true, Commands: []*iqv1.Command{modifyTo("ip/core/1.2", &iqv1.TerminationDescriptor{Streams: []*iqv1.Stream{stream(3, "EVS", "EVS")}})}}, b.media.perform).GetError()
	if e.GetCode() != 449 || !strings.HasPrefix(e.GetText(), "stream 3: nothing that ip/access/1.1 may send") {
		t.Errorf("%v", e)
	}
}
