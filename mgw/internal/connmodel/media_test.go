package connmodel

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/isthmus-gateway/isthmus/pkg/gwerr"
	"github.com/isthmus-gateway/isthmus/pkg/gwid"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// fakeMedia stands for the packet path: it keeps what it was told, chooses addresses by counting and fails on order.
type fakeMedia struct {
	t       *testing.T
	opened  int
	creds   int
	terms   map[gwid.TerminationID]*fakeTerm
	pairs   []pair
	log     []string
	failOn  string // name of the effect type that fails
	failIn  int    // at its n-th next occurrence
	failErr *Error
}

type fakeTerm struct {
	kind    Kind
	worker  int // the same for what is near each other
	local   Local
	apart   bool // RTCP has a component of its own, used or put aside
	aside   bool // it is put aside
	access  *AccessRemote
	first   gwid.StreamID
	streams map[gwid.StreamID]*fakeStream
}

type fakeStream struct {
	chosen   Chosen
	settings Settings
	signals  Signals
	core     CoreRemote
}

func newFakeMedia(t *testing.T) *fakeMedia {
	return &fakeMedia{t: t, terms: map[gwid.TerminationID]*fakeTerm{}}
}

func effectName(e Effect) string { return reflect.TypeOf(e).Name() }

func (m *fakeMedia) perform(e Effect) Result {
	line := describe(e)
	if m.failOn == effectName(e) {
		if m.failIn--; m.failIn == 0 {
			m.failOn = ""
			m.log = append(m.log, line+" FAILS")
			return Result{Err: m.failErr}
		}
	}
	m.log = append(m.log, line)
	switch x := e.(type) {
	case NewAccess:
		res := m.open(x.Term, x.Stream, KindAccess, x.Near)
		m.term(x.Term).apart = x.Component2
		return res
	case NewStream:
		if m.term(x.Term).kind != KindAccess {
			m.t.Fatalf("%s: not an access termination", line)
		}
		if ft := m.term(x.Term); ft.apart && !ft.aside {
			m.t.Fatalf("%s: component 2 is in use", line)
		}
		return m.addStream(x.Term, x.Stream)
	case NewCore:
		if m.terms[x.Term] == nil {
			return m.open(x.Term, x.Stream, KindCore, x.Near)
		}
		if x.Near == "" || m.term(x.Near).worker != m.term(x.Term).worker {
			m.t.Fatalf("%s: its other streams are on another worker", line)
		}
		return m.addStream(x.Term, x.Stream)
	case Configure:
		m.stream(x.Term, x.Stream).settings = x.Settings
	case SetAccessRemote:
		return m.setAccess(x)
	case GiveUpComponent2:
		ft := m.term(x.Term)
		if !ft.apart {
			m.t.Fatalf("%s: there is none", line)
		}
		ft.apart, ft.aside = false, false
		return Result{Local: ft.local}
	case RestartICE:
		ft := m.term(x.Term)
		m.credentials(ft)
		return Result{Local: ft.local}
	case SetCoreRemote:
		m.stream(x.Term, x.Stream).core = x.Remote
	case Play:
		m.stream(x.Term, x.Stream).signals = x.Signals
	case Connect:
		m.stream(x.Access, x.Stream)
		m.stream(x.Core, x.Stream)
		p := pair{x.Access, x.Core, x.Stream}
		if m.term(x.Access).worker != m.term(x.Core).worker {
			m.t.Fatalf("%s: on different workers", line)
		}
		for _, o := range m.pairs {
			if o.stream == p.stream && (o.access == p.access || o.core == p.core) {
				m.t.Fatalf("%s while %v", line, o)
			}
		}
		m.pairs = append(m.pairs, p)
	case Disconnect:
		if i := slices.Index(m.pairs, pair{x.Access, x.Core, x.Stream}); i >= 0 {
			m.pairs = slices.Delete(m.pairs, i, i+1)
		}
	case Close:
		return m.close(line, x)
	default:
		m.t.Fatalf("unknown effect %T", e)
	}
	return Result{}
}

func (m *fakeMedia) close(line string, x Close) Result {
	ft := m.term(x.Term)
	m.stream(x.Term, x.Stream)
	delete(ft.streams, x.Stream)
	if x.Stream == ft.first {
		if len(ft.streams) > 0 {
			m.t.Fatalf("%s before its other streams", line)
		}
		delete(m.terms, x.Term)
	}
	for _, p := range m.pairs {
		if p.stream == x.Stream && (p.access == x.Term || p.core == x.Term) {
			m.t.Fatalf("%s while connected", line)
		}
	}
	return Result{Statistics: &iqv1.Statistics{TerminationId: string(x.Term), StreamId: uint32(x.Stream), PacketsReceived: 50}}
}

func (m *fakeMedia) term(id gwid.TerminationID) *fakeTerm {
	ft := m.terms[id]
	if ft == nil {
		m.t.Fatalf("effect on %s, which is not open", id)
	}
	return ft
}

func (m *fakeMedia) stream(id gwid.TerminationID, stream gwid.StreamID) *fakeStream {
	fs := m.term(id).streams[stream]
	if fs == nil {
		m.t.Fatalf("effect on stream %d of %s, which is not open", stream, id)
	}
	return fs
}

func (m *fakeMedia) open(id gwid.TerminationID, stream gwid.StreamID, k Kind, near gwid.TerminationID) Result {
	if m.terms[id] != nil {
		m.t.Fatalf("%s opened twice", id)
	}
	ft := &fakeTerm{kind: k, worker: m.opened + 1, first: stream, streams: map[gwid.StreamID]*fakeStream{}}
	if near != "" {
		ft.worker = m.term(near).worker
	}
	if k == KindAccess {
		ft.local.Candidates = []Candidate{{Foundation: "1", Component: 1, Transport: "udp", Priority: 1, Addr: netip.MustParseAddrPort("192.0.2.1:7430"), Type: "host"}}
		ft.local.Fingerprints = []Fingerprint{{Hash: "sha-256", Value: "AA"}}
		m.credentials(ft)
	}
	m.terms[id] = ft
	res := m.addStream(id, stream)
	res.Local = ft.local
	return res
}

func (m *fakeMedia) addStream(id gwid.TerminationID, stream gwid.StreamID) Result {
	ft := m.term(id)
	if ft.streams[stream] != nil {
		m.t.Fatalf("stream %d of %s opened twice", stream, id)
	}
	m.opened++
	c := Chosen{SSRC: uint32(1000 + m.opened), CName: fmt.Sprintf("c%d", m.opened)}
	if ft.kind == KindCore {
		port := uint16(20000 + 2*m.opened)
		c.RTP = netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), port)
		c.RTCP = netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), port+1)
		c.Keys = make(map[string]Secret)
		for suite, n := range keyLength {
			c.Keys[suite] = Secret(strings.Repeat("k", n-1) + fmt.Sprint(m.opened%10))
		}
	}
	ft.streams[stream] = &fakeStream{chosen: c}
	return Result{Chosen: c}
}

func (m *fakeMedia) credentials(ft *fakeTerm) {
	m.creds++
	n := m.creds
	ft.local.Ufrag, ft.local.Pwd = fmt.Sprintf("ufrag%d", n), fmt.Sprintf("secretsecretsecret%04d", n)
}

func (m *fakeMedia) setAccess(x SetAccessRemote) Result {
	ft := m.term(x.Term)
	if !x.Remote.Mux && !ft.apart {
		m.t.Fatalf("%s: component 2 is asked for, and there is none", x.Term)
	}
	ft.aside = ft.apart && x.Remote.Mux
	if x.Remote.Ufrag == "" { // all else stays
		if !reflect.DeepEqual(x.Remote, AccessRemote{Mux: x.Remote.Mux}) {
			m.t.Fatalf("%s: a peer without credentials: %+v", x.Term, x.Remote)
		}
		return Result{Local: ft.local}
	}
	if ft.access != nil && ft.access.Ufrag != x.Remote.Ufrag {
		m.credentials(ft)
	}
	r := x.Remote
	ft.access = &r
	return Result{Local: ft.local}
}

// snapshot is what media does now, but for credentials, which do not come back.
func (m *fakeMedia) snapshot() string {
	var b strings.Builder
	for _, id := range slices.Sorted(maps.Keys(m.terms)) {
		ft := m.terms[id]
		fmt.Fprintf(&b, "%s apart=%v aside=%v", id, ft.apart, ft.aside)
		if ft.access != nil {
			fmt.Fprintf(&b, " %+v", *ft.access)
		}
		for _, n := range slices.Sorted(maps.Keys(ft.streams)) {
			fs := ft.streams[n]
			fmt.Fprintf(&b, " #%d %v %+v %+v %+v", n, fs.chosen.RTP, fs.settings, fs.core, fs.signals.List)
		}
		b.WriteByte('\n')
	}
	pairs := slices.Clone(m.pairs)
	slices.SortFunc(pairs, func(a, b pair) int {
		return cmp.Or(strings.Compare(string(a.access), string(b.access)), cmp.Compare(a.stream, b.stream))
	})
	fmt.Fprintf(&b, "%v\n", pairs)
	return b.String()
}

// fail orders the n-th next effect of a name to fail.
func (m *fakeMedia) fail(name string, n int, code gwerr.Code, text string) {
	m.failOn, m.failIn, m.failErr = name, n, Errorf(code, "%s", text)
}

// name is a stream of a termination in a line of a golden; stream 1 is not named.
func name(id gwid.TerminationID, stream gwid.StreamID) string {
	if stream == 1 {
		return string(id)
	}
	return fmt.Sprintf("%s#%d", id, stream)
}

// describe writes an effect in one line for goldens.
func describe(e Effect) string {
	switch x := e.(type) {
	case NewStream:
		return "NewStream " + name(x.Term, x.Stream)
	case NewAccess:
		line := fmt.Sprintf("NewAccess %s realm=%s near=%s", name(x.Term, x.Stream), x.Realm, x.Near)
		if x.Full {
			line += " full ICE"
		}
		if x.Component2 {
			line += " component 2"
		}
		return line
	case NewCore:
		return fmt.Sprintf("NewCore %s realm=%s near=%s", name(x.Term, x.Stream), x.Realm, x.Near)
	case Play:
		out := fmt.Sprintf("Play %s request=%d internal=%v", name(x.Term, x.Stream), x.Signals.RequestID, x.Signals.Internal)
		for _, s := range x.Signals.List {
			out += fmt.Sprintf(" {%s %s%s rounds=%d %v notify=%v keep=%v}", s.Name, s.Announcement, strings.Trim(string(rune(s.Digit)), "\x00"), s.Rounds, s.Duration, s.Notify, s.Keep)
		}
		return out
	case Configure:
		return fmt.Sprintf("Configure %s %s", name(x.Term, x.Stream), describeSettings(x.Settings))
	case SetAccessRemote:
		line := fmt.Sprintf("SetAccessRemote %s ufrag=%s role=%d candidates=%d fingerprints=%d", x.Term, x.Remote.Ufrag, x.Remote.Role, len(x.Remote.Candidates), len(x.Remote.Fingerprints))
		if x.Remote.Controlling {
			line += " controlling"
		}
		if x.Remote.TLSID != "" {
			line += " tls-id=" + x.Remote.TLSID
		}
		if !x.Remote.Mux {
			line += " component 2"
		}
		return line
	case GiveUpComponent2:
		return fmt.Sprintf("GiveUpComponent2 %s", x.Term)
	case RestartICE:
		return fmt.Sprintf("RestartICE %s", x.Term)
	case SetCoreRemote:
		line := fmt.Sprintf("SetCoreRemote %s rtp=%v rtcp=%v latch=%d gen=%d filter=%v", name(x.Term, x.Stream), x.Remote.RTP, x.Remote.RTCP, x.Remote.Latch, x.Remote.Generation, x.Remote.Filter.Prefixes)
		if p := x.Remote.Filter.Ports; p[0] != 0 {
			line += fmt.Sprintf(" ports=%d-%d", p[0], p[1])
		}
		if x.Remote.Secure {
			line += fmt.Sprintf(" srtp %s key %.4s of %d", x.Remote.Crypto.Suite, string(x.Remote.Crypto.Key), len(x.Remote.Crypto.Key))
			if mki := x.Remote.Crypto.MKI; mki != "" {
				line += fmt.Sprintf(" mki %x", mki)
			}
		}
		return line
	case Connect:
		return fmt.Sprintf("Connect %s %s", name(x.Access, x.Stream), name(x.Core, x.Stream))
	case Disconnect:
		return fmt.Sprintf("Disconnect %s %s", name(x.Access, x.Stream), name(x.Core, x.Stream))
	case Close:
		return fmt.Sprintf("Close %s", name(x.Term, x.Stream))
	}
	return fmt.Sprintf("%T", e)
}

func describeSettings(s Settings) string {
	var recv []string
	for _, c := range s.Recv {
		recv = append(recv, fmt.Sprintf("%d:%s/%d", c.PT, c.Name, c.ClockRate))
	}
	line := fmt.Sprintf("mode=%s recv=%s", s.Mode, strings.Join(recv, ","))
	if !s.Send.IsZero() {
		line += fmt.Sprintf(" send=%d:%s", s.Send.PT, s.Send.Name)
	}
	if !s.SendDTMF.IsZero() {
		line += fmt.Sprintf(" dtmf=%d/%d", s.SendDTMF.PT, s.SendDTMF.ClockRate)
	}
	if !s.SendCN.IsZero() {
		line += fmt.Sprintf(" cn=%d/%d", s.SendCN.PT, s.SendCN.ClockRate)
	}
	if s.MaxBitrate != 0 {
		line += fmt.Sprintf(" most=%d", s.MaxBitrate)
	}
	line += fmt.Sprintf(" ptime=%v dscp=%d", s.Ptime, s.DSCP)
	if s.MaxPtime != 0 {
		line += fmt.Sprintf(" maxptime=%v", s.MaxPtime)
	}
	if s.MIDExt != 0 || s.Source != 0 {
		line += fmt.Sprintf(" mid=%q ext=%d source=%d", s.MID, s.MIDExt, s.Source)
	}
	if s.Policing != (Policing{}) {
		line += fmt.Sprintf(" police=%d/%d", s.Policing.BytesPerSecond, s.Policing.BurstBytes)
	}
	if s.DropDigits || s.DetectTones {
		line += fmt.Sprintf(" drop=%v tones=%v", s.DropDigits, s.DetectTones)
	}
	if s.Armed != 0 {
		line += fmt.Sprintf(" armed=%#x consent=%v inactive=%v", uint32(s.Armed), s.ConsentAfter, s.InactiveAfter)
		if s.WatchOut || s.RTCPIsMedia {
			line += fmt.Sprintf(" watch=%v/%v rtcp=%v", s.WatchIn, s.WatchOut, s.RTCPIsMedia)
		}
	}
	return line
}
