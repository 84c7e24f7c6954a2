package app

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/isthmus-gateway/isthmus/mgw/internal/transcode"
	"github.com/isthmus-gateway/isthmus/pkg/freeports"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// controller is a pool of one that records what the gateway tells it.
type controller struct {
	iqv1.UnimplementedMediaGatewayControllerServer
	address string
	srv     *grpc.Server
	done    chan struct{}

	mu          sync.Mutex // guards what follows
	changes     []*iqv1.ServiceChangeRequest
	notes       []*iqv1.NotifyRequest
	beats       int
	unavailable []string // by the last heartbeat
}

func startController(t testing.TB) *controller {
	t.Helper()
	c := &controller{address: fmt.Sprintf("127.0.0.1:%d", freeports.Port(t))}
	c.start(t)
	t.Cleanup(c.stop)
	return c
}

func (c *controller) start(t testing.TB) {
	t.Helper()
	lis, err := net.Listen("tcp", c.address)
	if err != nil {
		t.Fatal(err)
	}
	c.srv, c.done = grpc.NewServer(), make(chan struct{})
	iqv1.RegisterMediaGatewayControllerServer(c.srv, c)
	go func() { defer close(c.done); _ = c.srv.Serve(lis) }()
}

func (c *controller) stop() { c.srv.Stop(); <-c.done }

func (c *controller) ServiceChange(_ context.Context, r *iqv1.ServiceChangeRequest) (*iqv1.ServiceChangeReply, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes = append(c.changes, proto.Clone(r).(*iqv1.ServiceChangeRequest))
	return &iqv1.ServiceChangeReply{ProfileVersion: 2, HeartbeatInterval: durationpb.New(100 * time.Millisecond)}, nil
}

func (c *controller) Heartbeat(_ context.Context, r *iqv1.HeartbeatRequest) (*iqv1.HeartbeatReply, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.beats++
	c.unavailable = r.GetUnavailableRealms()
	return &iqv1.HeartbeatReply{Next: durationpb.New(100 * time.Millisecond), ProfileVersion: 2}, nil
}

func (c *controller) Notify(_ context.Context, r *iqv1.NotifyRequest) (*iqv1.NotifyReply, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.notes = append(c.notes, proto.Clone(r).(*iqv1.NotifyRequest))
	return &iqv1.NotifyReply{Verdict: iqv1.NotifyReply_VERDICT_ACK}, nil
}

// methods are the service changes so far, e.g. "RESTART GRACEFUL".
func (c *controller) methods() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []string
	for _, r := range c.changes {
		out = append(out, strings.TrimPrefix(r.GetMethod().String(), "METHOD_"))
	}
	return strings.Join(out, " ")
}

func (c *controller) events() []*iqv1.NotifyRequest {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]*iqv1.NotifyRequest(nil), c.notes...)
}

func codecs(list ...string) []*iqv1.Codec {
	known := map[string]*iqv1.Codec{
		"opus": {PayloadType: 111, Name: "opus", ClockRate: 48000, Channels: 2}, "PCMA": {PayloadType: 8, Name: "PCMA", ClockRate: 8000},
		"G722": {PayloadType: 9, Name: "G722", ClockRate: 8000},
	}
	var out []*iqv1.Codec
	for _, n := range list {
		out = append(out, known[n])
	}
	return out
}

// browserCodec is what calls have towards the browser, so that they are transcoded: Opus, or G.722 in a build without cgo.
func browserCodec() []*iqv1.Codec {
	return codecs(transcode.Available()[0].Name)
}

func choose() *iqv1.TerminationRef {
	return &iqv1.TerminationRef{Ref: &iqv1.TerminationRef_Choose{Choose: &emptypb.Empty{}}}
}

func addAccess() *iqv1.Command {
	return &iqv1.Command{Cmd: &iqv1.Command_Add{Add: &iqv1.Add{Termination: choose(), Descriptor_: &iqv1.TerminationDescriptor{
		Kind: iqv1.TerminationDescriptor_KIND_WEBRTC_ACCESS, Realm: "access",
		Transport: &iqv1.TransportGroup{IceLite: true, RemoteIce: &iqv1.IceParameters{Ufrag: "abcd", Pwd: "0123456789012345678901"},
			RemoteDtls: &iqv1.DtlsParameters{Role: iqv1.DtlsParameters_ROLE_CLIENT, Fingerprints: []*iqv1.Fingerprint{
				{Hash: "sha-256", Value: strings.Repeat("AB:", 31) + "AB"},
			}}},
		Streams: []*iqv1.Stream{{
			StreamId: 1, Mid: "0", LocalControl: &iqv1.LocalControl{Mode: iqv1.LocalControl_MODE_SENDRECV, Dscp: 46},
			Local: &iqv1.MediaDescription{Codecs: browserCodec()}, Remote: &iqv1.MediaDescription{Codecs: browserCodec()},
		}},
	}}}}
}

func addCore(events ...iqv1.EventType) *iqv1.Command {
	d := &iqv1.TerminationDescriptor{
		Kind: iqv1.TerminationDescriptor_KIND_RTP_CORE, Realm: "core", Streams: []*iqv1.Stream{{
			StreamId: 1, LocalControl: &iqv1.LocalControl{Mode: iqv1.LocalControl_MODE_SENDRECV, Latch: iqv1.LocalControl_LATCH_ON},
			Local: &iqv1.MediaDescription{Codecs: codecs("PCMA")}, Remote: &iqv1.MediaDescription{Address: "127.0.0.1", Port: 9, Codecs: codecs("PCMA")},
		}}, Events: &iqv1.EventsDescriptor{RequestId: 4},
	}
	for _, e := range events {
		d.Events.Specs = append(d.Events.Specs, &iqv1.EventSpec{Type: e})
	}
	return &iqv1.Command{Cmd: &iqv1.Command_Add{Add: &iqv1.Add{Termination: choose(), Descriptor_: d}}}
}

// setUp is the transaction of a new call.
func setUp(id string, events ...iqv1.EventType) *iqv1.TransactionRequest {
	return &iqv1.TransactionRequest{TransactionId: id, Actions: []*iqv1.Action{{
		Context: &iqv1.ContextRef{Ref: &iqv1.ContextRef_Choose{Choose: &emptypb.Empty{}}}, Atomic: true,
		Attributes: &iqv1.ContextAttributes{CorrelationId: id}, Commands: []*iqv1.Command{addAccess(), addCore(events...)},
	}}}
}

func onContext(id, context string, cmd *iqv1.Command) *iqv1.TransactionRequest {
	return &iqv1.TransactionRequest{TransactionId: id, Actions: []*iqv1.Action{{
		Context: &iqv1.ContextRef{Ref: &iqv1.ContextRef_Id{Id: context}}, Commands: []*iqv1.Command{cmd}, Atomic: true,
	}}}
}

func subtractAll() *iqv1.Command {
	all := &iqv1.TerminationRef{Ref: &iqv1.TerminationRef_All{All: &emptypb.Empty{}}}
	return &iqv1.Command{Cmd: &iqv1.Command_Subtract{Subtract: &iqv1.Subtract{Termination: all}}}
}
