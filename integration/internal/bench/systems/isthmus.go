package systems

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/isthmus-gateway/isthmus/integration/internal/bench/load"
	"github.com/isthmus-gateway/isthmus/integration/internal/stack"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// Isthmus is the media gateway, commanded over Iq as by a controller.
type Isthmus struct {
	name  string
	core  [2]int // range of core ports
	pool  *pool
	procs *stack.Stack
	conn  *grpc.ClientConn
	iq    iqv1.MediaGatewayClient

	mu       sync.Mutex // guards contexts
	contexts []string
}

const isthmusName = "mgw"

// StartIsthmus runs the gateway at path. workers: its packet threads, 0: its default. log takes its output, may be nil.
func StartIsthmus(ctx context.Context, path string, workers int, log io.Writer) (*Isthmus, error) {
	return start(ctx, &Isthmus{name: "isthmus", core: [2]int{isthmusMin, isthmusMax}}, path, workers, log)
}

// StartRival runs another build of the gateway beside it.
func StartRival(ctx context.Context, path string, workers int, log io.Writer) (*Isthmus, error) {
	return start(ctx, &Isthmus{name: "rival", core: [2]int{rivalMin, rivalMax}}, path, workers, log)
}

func start(ctx context.Context, s *Isthmus, path string, workers int, log io.Writer) (*Isthmus, error) {
	s.procs = stack.New(log)
	if err := s.start(ctx, path, workers); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Isthmus) start(ctx context.Context, path string, workers int) error {
	port, err := stack.FreePorts("tcp", 3) // Iq, admin, HTTP
	if err != nil {
		return err
	}
	media, err := stack.FreePorts("udp", max(workers, runtime.NumCPU()))
	if err != nil {
		return err
	}
	if s.pool, err = startPool(); err != nil {
		return err
	}
	iq := fmt.Sprintf("127.0.0.1:%d", port)
	web := fmt.Sprintf("127.0.0.1:%d", port+2)
	err = s.procs.Start(ctx, stack.Daemon{Name: isthmusName, Path: path, Ready: "http://" + web + "/readyz", Args: []string{
		"--mgw_id=bench", "--log.level=error", "--drain.grace=0s", "--iq.listen=" + iq, "--iq.mgc=" + s.pool.address, "--http.listen=" + web,
		fmt.Sprintf("--admin.listen=127.0.0.1:%d", port+1), fmt.Sprintf("--realms.access.0.port=%d", media),
		fmt.Sprintf("--realms.core.0.port_min=%d", s.core[0]), fmt.Sprintf("--realms.core.0.port_max=%d", s.core[1]),
		fmt.Sprintf("--media.workers=%d", workers),
	}})
	if err != nil {
		return err
	}
	if s.conn, err = grpc.NewClient(iq, grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		return fmt.Errorf("systems: %w", err)
	}
	s.iq = iqv1.NewMediaGatewayClient(s.conn)
	return nil
}

// Name implements System.
func (s *Isthmus) Name() string { return s.name }

// Pid implements System.
func (s *Isthmus) Pid() int { return s.procs.Pid(isthmusName) }

// Begin implements System.
func (s *Isthmus) Begin() error { return nil }

// Connect implements System: one transaction that adds both terminations with all that is known of their peers.
func (s *Isthmus) Connect(ctx context.Context, o load.Offer) (load.Answer, error) {
	rep, err := s.iq.Transact(ctx, setUp(o))
	if err != nil {
		return load.Answer{}, fmt.Errorf("iq: %w", err)
	}
	if rep.GetError() != nil || len(rep.GetActions()) != 1 || rep.GetActions()[0].GetError() != nil || len(rep.GetActions()[0].GetCommands()) != 2 {
		return load.Answer{}, fmt.Errorf("iq: %v", rep)
	}
	act := rep.GetActions()[0]
	s.mu.Lock()
	s.contexts = append(s.contexts, act.GetContextId())
	s.mu.Unlock()
	return answerOf(act.GetCommands()[0].GetResolved().GetTransport(), act.GetCommands()[1].GetResolved().GetStreams())
}

func answerOf(t *iqv1.TransportGroup, core []*iqv1.Stream) (a load.Answer, err error) {
	ice, dtls := t.GetLocalIce(), t.GetLocalDtls()
	if len(ice.GetCandidates()) == 0 || len(dtls.GetFingerprints()) == 0 || len(core) == 0 {
		return a, errors.New("iq: the reply lacks candidate, fingerprint or core stream")
	}
	a.Ufrag, a.Pwd, a.Fingerprint = ice.GetUfrag(), ice.GetPwd(), dtls.GetFingerprints()[0].GetValue()
	a.Client = dtls.GetRole() == iqv1.DtlsParameters_ROLE_CLIENT
	if a.Access, err = endpoint(ice.GetCandidates()[0].GetAddress(), ice.GetCandidates()[0].GetPort()); err != nil {
		return a, err
	}
	a.Core, err = endpoint(core[0].GetLocal().GetAddress(), core[0].GetLocal().GetPort())
	return a, err
}

// setUp is the transaction of a new call.
func setUp(o load.Offer) *iqv1.TransactionRequest {
	plain := []*iqv1.Codec{{PayloadType: 8, Name: "PCMA", ClockRate: 8000}}
	web := plain
	switch o.Media {
	case load.OpusAMRWB:
		plain = []*iqv1.Codec{{PayloadType: 97, Name: "AMR-WB", ClockRate: 16000, Channels: 1, Fmtp: "mode-set=0,1,2"}} // as mobile networks have it
	case load.OpusAMRWBFull:
		plain = []*iqv1.Codec{{PayloadType: 97, Name: "AMR-WB", ClockRate: 16000, Channels: 1}}
	case load.OpusG722:
		plain = []*iqv1.Codec{{PayloadType: 9, Name: "G722", ClockRate: 8000}}
	}
	if o.Media.Transcoded() {
		web = []*iqv1.Codec{{PayloadType: 111, Name: "opus", ClockRate: 48000, Channels: 2, Fmtp: "minptime=10;useinbandfec=1"}}
	}
	sendRecv := func() *iqv1.LocalControl { return &iqv1.LocalControl{Mode: iqv1.LocalControl_MODE_SENDRECV} }
	access := &iqv1.TerminationDescriptor{
		Kind: iqv1.TerminationDescriptor_KIND_WEBRTC_ACCESS, Realm: "access",
		Transport: &iqv1.TransportGroup{
			IceLite: true, RemoteIce: &iqv1.IceParameters{Ufrag: o.Ufrag, Pwd: o.Pwd},
			RemoteDtls: &iqv1.DtlsParameters{Role: iqv1.DtlsParameters_ROLE_CLIENT, Fingerprints: []*iqv1.Fingerprint{{Hash: "sha-256", Value: o.Fingerprint}}},
		},
		Streams: []*iqv1.Stream{{
			StreamId: 1, Mid: "0", LocalControl: sendRecv(), Local: &iqv1.MediaDescription{Codecs: web}, Remote: &iqv1.MediaDescription{Codecs: web},
		}},
	}
	core := &iqv1.TerminationDescriptor{
		Kind: iqv1.TerminationDescriptor_KIND_RTP_CORE, Realm: "core",
		Streams: []*iqv1.Stream{{
			StreamId: 1, LocalControl: sendRecv(), Local: &iqv1.MediaDescription{Codecs: plain},
			Remote: &iqv1.MediaDescription{Address: o.Core.Addr().String(), Port: uint32(o.Core.Port()), Codecs: plain},
		}},
	}
	id := fmt.Sprintf("bench-%d", o.Call)
	return &iqv1.TransactionRequest{TransactionId: id, Actions: []*iqv1.Action{{
		Context: &iqv1.ContextRef{Ref: &iqv1.ContextRef_Choose{Choose: &emptypb.Empty{}}}, Atomic: true,
		Attributes: &iqv1.ContextAttributes{CorrelationId: id}, Commands: []*iqv1.Command{add(access), add(core)},
	}}}
}

func add(d *iqv1.TerminationDescriptor) *iqv1.Command {
	choose := &iqv1.TerminationRef{Ref: &iqv1.TerminationRef_Choose{Choose: &emptypb.Empty{}}}
	return &iqv1.Command{Cmd: &iqv1.Command_Add{Add: &iqv1.Add{Termination: choose, Descriptor_: d}}}
}

// release subtracts all calls; a gateway that cannot is told so by the error.
func (s *Isthmus) release() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	all := &iqv1.TerminationRef{Ref: &iqv1.TerminationRef_All{All: &emptypb.Empty{}}}
	for _, id := range s.contexts {
		rep, err := s.iq.Transact(ctx, &iqv1.TransactionRequest{TransactionId: "release-" + id, Actions: []*iqv1.Action{{
			Context:  &iqv1.ContextRef{Ref: &iqv1.ContextRef_Id{Id: id}},
			Commands: []*iqv1.Command{{Cmd: &iqv1.Command_Subtract{Subtract: &iqv1.Subtract{Termination: all, OmitStatistics: true}}}},
		}}})
		if err != nil {
			return fmt.Errorf("iq: release of %s: %w", id, err)
		}
		if e := rep.GetError(); e != nil {
			return fmt.Errorf("iq: release of %s: %v", id, e)
		}
		if acts := rep.GetActions(); len(acts) == 1 && acts[0].GetError() != nil {
			return fmt.Errorf("iq: release of %s: %v", id, acts[0].GetError())
		}
	}
	s.contexts = nil
	return nil
}

// Close implements System.
func (s *Isthmus) Close() error {
	var errs []error
	if s.conn != nil {
		errs = append(errs, s.release(), s.conn.Close())
	}
	errs = append(errs, s.procs.Close(10*time.Second))
	if s.pool != nil {
		s.pool.close()
	}
	return errors.Join(errs...)
}
