package control

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/isthmus-gateway/isthmus/mgw/internal/connmodel"
	"github.com/isthmus-gateway/isthmus/mgw/internal/contexts"
	"github.com/isthmus-gateway/isthmus/mgw/internal/flow"
	"github.com/isthmus-gateway/isthmus/pkg/freeports"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeMedia stands for the packet path: core ports from a small set, counted executions.
type fakeMedia struct {
	mu     sync.Mutex
	free   []uint16
	open   int
	opened int
	hold   chan struct{} // when not nil, NewCore waits for it
}

func newFakeMedia(pairs int) *fakeMedia {
	m := &fakeMedia{}
	for i := range pairs {
		m.free = append(m.free, uint16(20000+2*i))
	}
	return m
}

func (m *fakeMedia) state() (open, opened, free int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.open, m.opened, len(m.free)
}

type fakeTerm struct {
	m    *fakeMedia
	port uint16
	once sync.Once
}

func (t *fakeTerm) Configure(flow.Settings) error { return nil }
func (t *fakeTerm) Play(flow.Signals) error       { return nil }
func (t *fakeTerm) Stats() flow.Stats             { return flow.Stats{PacketsSent: 3} }
func (t *fakeTerm) Close() flow.Stats {
	t.once.Do(func() {
		t.m.mu.Lock()
		defer t.m.mu.Unlock()
		t.m.open--
		if t.port != 0 {
			t.m.free = append(t.m.free, t.port)
		}
	})
	return flow.Stats{PacketsSent: 4}
}

type fakeAccess struct{ *fakeTerm }

func (fakeAccess) Local() flow.AccessLocal {
	return flow.AccessLocal{Ufrag: "ufrag", Pwd: "secret-password"}
}
func (fakeAccess) SetRemote(flow.AccessRemote) error { return nil }
func (fakeAccess) RestartICE() error                 { return nil }

func (fakeAccess) GiveUpComponent2() {}

type fakeCore struct{ *fakeTerm }

func (c fakeCore) Local() flow.CoreLocal {
	return flow.CoreLocal{RTP: netip.AddrPortFrom(netip.IPv6Loopback(), c.port), RTCP: netip.AddrPortFrom(netip.IPv6Loopback(), c.port+1)}
}
func (fakeCore) SetRemote(flow.CoreRemote) error { return nil }

func (m *fakeMedia) NewAccess(connmodel.NewAccess, contexts.Stream) (contexts.Access, error) {
	return fakeAccess{m.begin()}, nil
}

func (m *fakeMedia) NewStream(_ contexts.Access, x connmodel.NewStream) (contexts.Stream, connmodel.Chosen, error) {
	return m.begin(), connmodel.Chosen{SSRC: uint32(x.Stream)}, nil
}

func (m *fakeMedia) begin() *fakeTerm {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.open++
	m.opened++
	return &fakeTerm{m: m}
}

func (m *fakeMedia) NewCore(x connmodel.NewCore, _ contexts.Stream) (contexts.Core, error) {
	if m.hold != nil {
		<-m.hold
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.free) == 0 {
		return nil, fmt.Errorf("realm %s: %w", x.Realm, flow.ErrPortsExhausted)
	}
	c := fakeCore{&fakeTerm{m: m, port: m.free[0]}}
	m.free = m.free[1:]
	m.open++
	m.opened++
	return c, nil
}

func (m *fakeMedia) Connect(contexts.Stream, contexts.Core) error    { return nil }
func (m *fakeMedia) Disconnect(contexts.Stream, contexts.Core) error { return nil }

var testRealms = map[string]connmodel.Realm{"access": {Kind: connmodel.KindAccess}, "core": {Kind: connmodel.KindCore}}

func accepted(string) *connmodel.Error { return nil }

// newServer makes a server over media with a pool that takes every notify.
func newServer(t *testing.T, media contexts.Media, cfg ServerConfig) (*Server, *contexts.Manager) {
	t.Helper()
	m := contexts.New(contexts.Config{
		MGWID: "mgw", BootID: "boot-1", Boot: "b1", Realms: testRealms,
		Notify: func(context.Context, *iqv1.NotifyRequest) (iqv1.NotifyReply_Verdict, error) {
			return iqv1.NotifyReply_VERDICT_ACK, nil
		},
	}, media)
	cfg.MGWID, cfg.BootID = "mgw", "boot-1"
	d := NewDrain(m, nopLogger)
	t.Cleanup(func() { d.Close(); m.Close() })
	return NewServer(cfg, m, d, accepted), m
}

func chooseRef() *iqv1.TerminationRef {
	return &iqv1.TerminationRef{Ref: &iqv1.TerminationRef_Choose{Choose: &emptypb.Empty{}}}
}

func allRef() *iqv1.TerminationRef {
	return &iqv1.TerminationRef{Ref: &iqv1.TerminationRef_All{All: &emptypb.Empty{}}}
}

func addCommand(kind iqv1.TerminationDescriptor_Kind, realm string) *iqv1.Command {
	d := &iqv1.TerminationDescriptor{Kind: kind, Realm: realm, Streams: []*iqv1.Stream{{
		StreamId: 1, LocalControl: &iqv1.LocalControl{Mode: iqv1.LocalControl_MODE_SENDRECV},
		Local: &iqv1.MediaDescription{Codecs: []*iqv1.Codec{{PayloadType: 8, Name: "PCMA", ClockRate: 8000}}},
	}}}
	return &iqv1.Command{Cmd: &iqv1.Command_Add{Add: &iqv1.Add{Termination: chooseRef(), Descriptor_: d}}}
}

// setUp is the transaction of a new call.
func setUp(id string) *iqv1.TransactionRequest {
	return &iqv1.TransactionRequest{TransactionId: id, ExpectBootId: "boot-1", MgcInstance: "mgc-1", Actions: []*iqv1.Action{{
		Context:    &iqv1.ContextRef{Ref: &iqv1.ContextRef_Choose{Choose: &emptypb.Empty{}}},
		Attributes: &iqv1.ContextAttributes{CorrelationId: "corr-" + id}, Atomic: true,
		Commands: []*iqv1.Command{
			addCommand(iqv1.TerminationDescriptor_KIND_WEBRTC_ACCESS, "access"),
			addCommand(iqv1.TerminationDescriptor_KIND_RTP_CORE, "core"),
		},
	}}}
}

func release(id, context string) *iqv1.TransactionRequest {
	return &iqv1.TransactionRequest{TransactionId: id, Actions: []*iqv1.Action{{
		Context:  &iqv1.ContextRef{Ref: &iqv1.ContextRef_Id{Id: context}},
		Commands: []*iqv1.Command{{Cmd: &iqv1.Command_Subtract{Subtract: &iqv1.Subtract{Termination: allRef()}}}},
	}}}
}

// fakePool is a controller that can be told what to answer and be stopped and started on its port.
type fakePool struct {
	iqv1.UnimplementedMediaGatewayControllerServer
	t       *testing.T
	address string
	srv     *grpc.Server
	done    chan struct{}

	mu         sync.Mutex
	changes    []*iqv1.ServiceChangeRequest
	beats      []*iqv1.HeartbeatRequest
	notes      []*iqv1.NotifyRequest
	reRegister bool
	profile    uint32 // 0: 1 in registrations, none in heartbeats: a controller of profile version 1
	refuse     map[iqv1.ServiceChangeRequest_Method]bool
}

func newFakePool(t *testing.T) *fakePool {
	p := &fakePool{t: t, address: fmt.Sprintf("127.0.0.1:%d", freeports.Port(t)), refuse: map[iqv1.ServiceChangeRequest_Method]bool{}}
	p.start()
	t.Cleanup(p.stop)
	return p
}

func (p *fakePool) start() {
	p.t.Helper()
	lis, err := net.Listen("tcp", p.address)
	if err != nil {
		p.t.Fatal(err)
	}
	p.srv, p.done = grpc.NewServer(), make(chan struct{})
	iqv1.RegisterMediaGatewayControllerServer(p.srv, p)
	go func() { defer close(p.done); _ = p.srv.Serve(lis) }()
}

func (p *fakePool) stop() { p.srv.Stop(); <-p.done }

func (p *fakePool) ServiceChange(_ context.Context, r *iqv1.ServiceChangeRequest) (*iqv1.ServiceChangeReply, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.changes = append(p.changes, proto.Clone(r).(*iqv1.ServiceChangeRequest))
	reply := &iqv1.ServiceChangeReply{ProfileVersion: max(p.profile, 1), HeartbeatInterval: durationpb.New(100 * time.Millisecond), MgcInstance: "mgc-1"}
	if p.refuse[r.GetMethod()] {
		reply.Error = &iqv1.ErrorDescriptor{Code: 505, Text: "no"}
	}
	return reply, nil
}

func (p *fakePool) Heartbeat(_ context.Context, r *iqv1.HeartbeatRequest) (*iqv1.HeartbeatReply, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.beats = append(p.beats, proto.Clone(r).(*iqv1.HeartbeatRequest))
	again := p.reRegister
	p.reRegister = false
	return &iqv1.HeartbeatReply{Next: durationpb.New(100 * time.Millisecond), ReRegister: again, ProfileVersion: p.profile}, nil
}

func (p *fakePool) Notify(_ context.Context, r *iqv1.NotifyRequest) (*iqv1.NotifyReply, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.notes = append(p.notes, proto.Clone(r).(*iqv1.NotifyRequest))
	return &iqv1.NotifyReply{Verdict: iqv1.NotifyReply_VERDICT_ACK}, nil
}

// methods are the methods and reasons of the service changes so far.
func (p *fakePool) methods() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []string
	for _, c := range p.changes {
		out = append(out, fmt.Sprintf("%s %d", c.GetMethod(), c.GetReason()))
	}
	return out
}

func (p *fakePool) count() (changes, beats, notes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.changes), len(p.beats), len(p.notes)
}
