package contexts

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/isthmus-gateway/isthmus/mgw/internal/connmodel"
	"github.com/isthmus-gateway/isthmus/mgw/internal/flow"
	"github.com/isthmus-gateway/isthmus/pkg/gwid"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// fakeMedia stands for the packet path: it hands out ports of a small range and keeps what was told.
type fakeMedia struct {
	mu    sync.Mutex
	ports []uint16          // free
	open  map[string]any    // by key
	pairs map[string]string // keys: access to core
	creds int
	// refuse is what Play returns, refuseStream what NewStream does.
	refuse, refuseStream error
	block                chan struct{} // when not nil, NewCore waits for it
	closed               []string      // keys, in order
}

func newFakeMedia(pairs int) *fakeMedia {
	m := &fakeMedia{open: map[string]any{}, pairs: map[string]string{}}
	for i := range pairs {
		m.ports = append(m.ports, uint16(20000+2*i))
	}
	return m
}

// fakeStream is a stream of a termination; the first one of an access termination and any of a core termination have more to them.
type fakeStream struct {
	m        *fakeMedia
	id       string // of the termination
	stream   gwid.StreamID
	port     uint16
	settings flow.Settings
	played   []flow.Signals
	closed   bool
}

// key is the place of a stream among what is open: the termination's id, with "#" and the number when that is not 1.
func key(id gwid.TerminationID, stream gwid.StreamID) string {
	if stream == 1 {
		return string(id)
	}
	return fmt.Sprintf("%s#%d", id, stream)
}

func (t *fakeStream) key() string { return key(gwid.TerminationID(t.id), t.stream) }

func (t *fakeStream) Play(s flow.Signals) error {
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	t.played = append(t.played, s)
	return t.m.refuse
}

func (t *fakeStream) ID() string { return t.id }

func (t *fakeStream) Configure(s flow.Settings) error {
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	t.settings = s
	return nil
}

func (t *fakeStream) Stats() flow.Stats {
	return flow.Stats{PacketsReceived: 7, PacketsSent: uint64(t.stream)}
}

func (t *fakeStream) Close() flow.Stats {
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	if !t.closed {
		t.closed = true
		t.m.closed = append(t.m.closed, t.key())
		delete(t.m.open, t.key())
		if t.port != 0 {
			t.m.ports = append(t.m.ports, t.port)
		}
	}
	return flow.Stats{PacketsReceived: 8, PacketsSent: uint64(t.stream)}
}

type fakeAccess struct {
	*fakeStream
	local flow.AccessLocal
}

func (a fakeAccess) Local() flow.AccessLocal { return a.local }

func (a fakeAccess) SetRemote(flow.AccessRemote) error { return nil }

func (a fakeAccess) RestartICE() error { return nil }

func (a fakeAccess) GiveUpComponent2() {}

type fakeCore struct {
	*fakeStream
	remotes *[]flow.CoreRemote
}

func (c fakeCore) Local() flow.CoreLocal {
	addr := netip.MustParseAddr("127.0.0.1")
	return flow.CoreLocal{RTP: netip.AddrPortFrom(addr, c.port), RTCP: netip.AddrPortFrom(addr, c.port+1), SSRC: uint32(c.port), CName: "cname"}
}

func (c fakeCore) SetRemote(r flow.CoreRemote) error {
	*c.remotes = append(*c.remotes, r)
	return nil
}

func (m *fakeMedia) NewAccess(x connmodel.NewAccess, _ Stream) (Access, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.creds++
	a := fakeAccess{&fakeStream{m: m, id: string(x.Term), stream: x.Stream}, flow.AccessLocal{Ufrag: fmt.Sprintf("ufrag%d", m.creds), Pwd: "pwd", SSRC: 1}}
	m.open[a.key()] = a
	return a, nil
}

func (m *fakeMedia) NewStream(_ Access, x connmodel.NewStream) (Stream, connmodel.Chosen, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.refuseStream != nil {
		return nil, connmodel.Chosen{}, m.refuseStream
	}
	s := &fakeStream{m: m, id: string(x.Term), stream: x.Stream}
	m.open[s.key()] = s
	return s, connmodel.Chosen{SSRC: uint32(x.Stream), CName: "cname"}, nil
}

func (m *fakeMedia) NewCore(x connmodel.NewCore, _ Stream) (Core, error) {
	if m.block != nil {
		<-m.block
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.ports) == 0 {
		return nil, fmt.Errorf("realm %s: %w", x.Realm, flow.ErrPortsExhausted)
	}
	c := fakeCore{&fakeStream{m: m, id: string(x.Term), stream: x.Stream, port: m.ports[0]}, &[]flow.CoreRemote{}}
	m.ports = m.ports[1:]
	m.open[c.key()] = c
	return c, nil
}

func (m *fakeMedia) Connect(a Stream, c Core) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pairs[a.(interface{ key() string }).key()] = c.(fakeCore).key()
	return nil
}

func (m *fakeMedia) Disconnect(a Stream, c Core) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.pairs, a.(interface{ key() string }).key())
	return nil
}

func (m *fakeMedia) counts() (open, free, pairs int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.open), len(m.ports), len(m.pairs)
}

// endpoint makes a fake termination an Endpoint of an event.
func (m *fakeMedia) endpoint(id string) flow.Endpoint {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.open[id].(flow.Endpoint)
}

var errAway = errors.New("pool is away")

// pool records deliveries and answers as told.
type pool struct {
	mu      sync.Mutex
	got     []*iqv1.NotifyRequest
	verdict iqv1.NotifyReply_Verdict
	away    bool
	arrived chan struct{} // gets one per delivery; big enough
}

func newPool() *pool {
	return &pool{verdict: iqv1.NotifyReply_VERDICT_ACK, arrived: make(chan struct{}, 1000)}
}

func (p *pool) notify(_ context.Context, req *iqv1.NotifyRequest) (iqv1.NotifyReply_Verdict, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.got = append(p.got, cloneRequest(req))
	p.arrived <- struct{}{}
	if p.away {
		return 0, errAway
	}
	return p.verdict, nil
}

func (p *pool) set(v iqv1.NotifyReply_Verdict, away bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.verdict, p.away = v, away
}

func (p *pool) deliveries() []*iqv1.NotifyRequest {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]*iqv1.NotifyRequest(nil), p.got...)
}

func testConfig(p *pool) Config {
	return Config{
		MGWID: "m", BootID: "boot", Boot: "b", Notify: p.notify,
		Realms: map[string]connmodel.Realm{"access": {Kind: connmodel.KindAccess}, "core": {Kind: connmodel.KindCore}},
	}
}

func chooseContext() *iqv1.ContextRef {
	return &iqv1.ContextRef{Ref: &iqv1.ContextRef_Choose{Choose: &emptypb.Empty{}}}
}

func contextID(id string) *iqv1.ContextRef { return &iqv1.ContextRef{Ref: &iqv1.ContextRef_Id{Id: id}} }

func add(kind iqv1.TerminationDescriptor_Kind, realm string, events ...iqv1.EventType) *iqv1.Command {
	d := &iqv1.TerminationDescriptor{Kind: kind, Realm: realm, Streams: []*iqv1.Stream{{
		StreamId:     1,
		LocalControl: &iqv1.LocalControl{Mode: iqv1.LocalControl_MODE_SENDRECV},
		Local:        &iqv1.MediaDescription{Codecs: []*iqv1.Codec{{PayloadType: 8, Name: "PCMA", ClockRate: 8000}}},
	}}}
	if len(events) > 0 {
		d.Events = &iqv1.EventsDescriptor{RequestId: 9}
		for _, e := range events {
			d.Events.Specs = append(d.Events.Specs, &iqv1.EventSpec{Type: e})
		}
	}
	choose := &iqv1.TerminationRef{Ref: &iqv1.TerminationRef_Choose{Choose: &emptypb.Empty{}}}
	return &iqv1.Command{Cmd: &iqv1.Command_Add{Add: &iqv1.Add{Termination: choose, Descriptor_: d}}}
}

func addAccess(events ...iqv1.EventType) *iqv1.Command {
	return add(iqv1.TerminationDescriptor_KIND_WEBRTC_ACCESS, "access", events...)
}

func addCore(events ...iqv1.EventType) *iqv1.Command {
	return add(iqv1.TerminationDescriptor_KIND_RTP_CORE, "core", events...)
}

func subtractAll() *iqv1.Command {
	all := &iqv1.TerminationRef{Ref: &iqv1.TerminationRef_All{All: &emptypb.Empty{}}}
	return &iqv1.Command{Cmd: &iqv1.Command_Subtract{Subtract: &iqv1.Subtract{Termination: all}}}
}
