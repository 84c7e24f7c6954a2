package signalling

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/durationpb"

	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// gateway is a media gateway that grants all it is asked and has no media: it measures nothing of its own. It sends no Notify.
type gateway struct {
	iqv1.UnimplementedMediaGatewayServer
	srv    *grpc.Server
	conn   *grpc.ClientConn // to the controller
	cancel context.CancelFunc
	wg     sync.WaitGroup // server and heartbeats

	mu    sync.Mutex // guards below
	next  int
	lives map[string]bool // contexts
	given map[string]*iqv1.TransactionReply
	order []string // ids of given, oldest first
}

// remembered bounds the replies that are kept for repeated transactions.
const remembered = 20000

const (
	gatewayID   = "bench"
	gatewayBoot = "b1"
)

// startGateway registers at the controller's Iq address.
func startGateway(ctx context.Context, controller string) (*gateway, error) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("signalling: %w", err)
	}
	g := &gateway{srv: grpc.NewServer(), lives: map[string]bool{}, given: map[string]*iqv1.TransactionReply{}}
	iqv1.RegisterMediaGatewayServer(g.srv, g)
	g.wg.Go(func() { _ = g.srv.Serve(lis) }) // nil after Stop
	life, cancel := context.WithCancel(context.Background())
	g.cancel = cancel
	if g.conn, err = grpc.NewClient(controller, grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		g.close()
		return nil, fmt.Errorf("signalling: %w", err)
	}
	iq := iqv1.NewMediaGatewayControllerClient(g.conn)
	reply, err := iq.ServiceChange(ctx, &iqv1.ServiceChangeRequest{
		MgwId: gatewayID, BootId: gatewayBoot, Method: iqv1.ServiceChangeRequest_METHOD_RESTART, Address: lis.Addr().String(),
		Capabilities: &iqv1.Capabilities{ProfileVersion: 1, MaxContexts: 100000, Realms: []*iqv1.Realm{
			{Name: "access", Kind: iqv1.TerminationDescriptor_KIND_WEBRTC_ACCESS}, {Name: "core", Kind: iqv1.TerminationDescriptor_KIND_RTP_CORE}}}})
	if err != nil || reply.GetError() != nil {
		g.close()
		return nil, fmt.Errorf("signalling: registration of the gateway: %v, %w", reply.GetError(), err)
	}
	g.wg.Go(func() { g.beat(life, iq) })
	return g, nil
}

func (g *gateway) beat(ctx context.Context, iq iqv1.MediaGatewayControllerClient) {
	tick := time.NewTicker(3 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			_, _ = iq.Heartbeat(ctx, &iqv1.HeartbeatRequest{MgwId: gatewayID, BootId: gatewayBoot, Contexts: uint32(g.contexts())}) // a lost one is made good by the next
		case <-ctx.Done():
			return
		}
	}
}

// contexts is how many have been made and not subtracted.
func (g *gateway) contexts() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.lives)
}

func (g *gateway) close() {
	g.cancel()
	g.srv.Stop()
	g.wg.Wait()
	if g.conn != nil {
		_ = g.conn.Close()
	}
}

// AuditCapabilities implements the service.
func (g *gateway) AuditCapabilities(context.Context, *iqv1.AuditCapabilitiesRequest) (*iqv1.Capabilities, error) {
	return &iqv1.Capabilities{ProfileVersion: 1, MaxContexts: 100000}, nil
}

// AuditValue implements the service: it lists nothing.
func (g *gateway) AuditValue(*iqv1.AuditRequest, grpc.ServerStreamingServer[iqv1.AuditReply]) error {
	return nil
}

// ServiceChange implements the service.
func (g *gateway) ServiceChange(context.Context, *iqv1.ServiceChangeRequest) (*iqv1.ServiceChangeReply, error) {
	return &iqv1.ServiceChangeReply{ProfileVersion: 1, HeartbeatInterval: durationpb.New(3 * time.Second)}, nil
}

// Transact implements the service. A repeated transaction gets the reply of the first.
func (g *gateway) Transact(_ context.Context, req *iqv1.TransactionRequest) (*iqv1.TransactionReply, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	reply := g.given[req.GetTransactionId()]
	if reply != nil {
		return reply, nil
	}
	reply = g.perform(req)
	g.given[reply.TransactionId] = reply
	if g.order = append(g.order, reply.TransactionId); len(g.order) > remembered {
		delete(g.given, g.order[0])
		g.order = g.order[1:]
	}
	return reply, nil
}

func (g *gateway) perform(req *iqv1.TransactionRequest) *iqv1.TransactionReply {
	reply := &iqv1.TransactionReply{TransactionId: req.GetTransactionId(), BootId: gatewayBoot}
	for _, a := range req.GetActions() {
		id := a.GetContext().GetId()
		if id == "" {
			g.next++
			id = fmt.Sprintf("cx%d", g.next)
			g.lives[id] = true
		}
		out := &iqv1.ActionReply{ContextId: id, Revision: 1}
		for i, c := range a.GetCommands() {
			r := &iqv1.CommandReply{TerminationId: fmt.Sprintf("%s/%d", id, i)}
			switch {
			case c.GetAdd() != nil:
				r.Resolved = resolved(c.GetAdd().GetDescriptor_())
			case c.GetSubtract() != nil:
				delete(g.lives, id)
			}
			out.Commands = append(out.Commands, r)
		}
		reply.Actions = append(reply.Actions, out)
	}
	return reply
}

// fingerprint of a certificate that nobody has.
var fingerprint = strings.Repeat("AB:", 31) + "AB"

// resolved grants a termination of the kind asked for.
func resolved(d *iqv1.TerminationDescriptor) *iqv1.TerminationDescriptor {
	out := &iqv1.TerminationDescriptor{}
	for _, s := range d.GetStreams() {
		out.Streams = append(out.Streams, &iqv1.Stream{StreamId: s.GetStreamId(), Local: &iqv1.MediaDescription{
			Address: "127.0.0.1", Port: 20000, RtcpPort: 20001, Ssrc: 7, Cname: "c"}})
	}
	if d.GetKind() == iqv1.TerminationDescriptor_KIND_WEBRTC_ACCESS {
		out.Transport = &iqv1.TransportGroup{
			LocalIce: &iqv1.IceParameters{Ufrag: "mGw1", Pwd: "k3v0Qe9m2Jx7Zt5Wb8Rr4Yp6", Candidates: []*iqv1.Candidate{{
				Foundation: "1", Component: 1, Transport: "udp", Priority: 2130706431, Address: "127.0.0.1", Port: 7430, Type: "host"}}},
			LocalDtls: &iqv1.DtlsParameters{Fingerprints: []*iqv1.Fingerprint{{Hash: "sha-256", Value: fingerprint}}},
		}
	}
	return out
}
