package control

import (
	"context"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/isthmus-gateway/isthmus/mgw/internal/connmodel"
	"github.com/isthmus-gateway/isthmus/mgw/internal/contexts"
	"github.com/isthmus-gateway/isthmus/pkg/gwerr"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

const (
	maxActions      = 16
	maxIDLength     = 64
	defaultKeep     = 90 * time.Second // of replies; the protocol promises 60 s
	defaultReplies  = 100_000
	defaultInFlight = 512
)

// ServerConfig is what a Server needs.
type ServerConfig struct {
	MGWID, BootID string
	Capabilities  func() *iqv1.Capabilities // as they are now; not to be mutated
	Keep          time.Duration             // of replies; below 60 s counts as 90 s
	MaxReplies    int                       // kept at once; 0: 100000
	MaxInFlight   int                       // transactions being executed; beyond it RESOURCE_EXHAUSTED; 0: 512
	Logger        *zap.Logger               // nil: none
	Metrics       *Metrics                  // nil: none
}

// Server serves MediaGateway. Safe from any goroutine.
type Server struct {
	iqv1.UnimplementedMediaGatewayServer
	cfg      ServerConfig
	contexts *contexts.Manager
	drain    *Drain
	ready    func(expectBoot string) *connmodel.Error
	replies  *replies
	inFlight chan struct{} // one element per transaction being executed; full: refused
}

// NewServer makes a Server. ready tells whether transactions are accepted (Association.Ready).
func NewServer(cfg ServerConfig, m *contexts.Manager, d *Drain, ready func(expectBoot string) *connmodel.Error) *Server {
	if cfg.Keep < 60*time.Second {
		cfg.Keep = defaultKeep
	}
	if cfg.MaxReplies == 0 {
		cfg.MaxReplies = defaultReplies
	}
	if cfg.MaxInFlight == 0 {
		cfg.MaxInFlight = defaultInFlight
	}
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	if cfg.Metrics == nil {
		cfg.Metrics = NewMetrics(nil)
	}
	s := &Server{
		cfg: cfg, contexts: m, drain: d, ready: ready, replies: newReplies(cfg.Keep, cfg.MaxReplies),
		inFlight: make(chan struct{}, cfg.MaxInFlight),
	}
	cfg.Metrics.storedReplies = s.replies.size
	return s
}

// Transact performs ordered commands (H.248.1 §8); idempotent by transaction_id.
func (s *Server) Transact(ctx context.Context, req *iqv1.TransactionRequest) (*iqv1.TransactionReply, error) {
	start := time.Now()
	if err := s.check(ctx, req); err != nil {
		s.cfg.Metrics.transaction("refused", start)
		return &iqv1.TransactionReply{TransactionId: connmodel.Clip(req.GetTransactionId()), BootId: s.cfg.BootID, Error: err.Descriptor()}, nil
	}
	select {
	case s.inFlight <- struct{}{}:
		defer func() { <-s.inFlight }()
	default:
		s.cfg.Metrics.transaction("overload", start)
		return nil, status.Errorf(codes.ResourceExhausted, "%d transactions are being executed", cap(s.inFlight))
	}
	reply, err := s.replies.once(ctx, req.GetTransactionId(), func() *iqv1.TransactionReply { return s.execute(req) })
	s.cfg.Metrics.transaction(outcome(reply, err), start)
	return reply, err
}

// check refuses a transaction as a whole; what is refused is not stored and may come again.
func (s *Server) check(ctx context.Context, req *iqv1.TransactionRequest) *connmodel.Error {
	if !validID(req.GetTransactionId()) {
		return connmodel.Errorf(gwerr.BadRequest, "transaction_id %q is not 1 to %d letters, digits or \"-_.:\"",
			connmodel.Clip(req.GetTransactionId()), maxIDLength)
	}
	if n := len(req.GetActions()); n == 0 || n > maxActions {
		return connmodel.Errorf(gwerr.SyntaxErrorInActionID, "%d actions, allowed 1 to %d", n, maxActions)
	}
	if err := s.identify(ctx, req.GetMgcInstance()); err != nil {
		return err
	}
	if want := req.GetExpectBootId(); want != "" && want != s.cfg.BootID {
		return connmodel.Errorf(gwerr.BeforeRestart, "boot_id is %s, not %q: the contexts of other boots are gone", s.cfg.BootID, connmodel.Clip(want))
	}
	return s.ready(req.GetExpectBootId())
}

// identify checks, with mutual TLS, that the instance is a name of the peer's certificate.
func (s *Server) identify(ctx context.Context, instance string) *connmodel.Error {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return nil // plaintext: allowed by configuration, see Listen
	}
	certs := info.State.PeerCertificates
	if len(certs) == 0 || instance == "" || certs[0].VerifyHostname(instance) != nil {
		return connmodel.Errorf(gwerr.Unauthorised, "mgc_instance %q is no name of the certificate", connmodel.Clip(instance))
	}
	return nil
}

// execute performs the actions in order; the first that fails is the last.
func (s *Server) execute(req *iqv1.TransactionRequest) *iqv1.TransactionReply {
	reply := &iqv1.TransactionReply{TransactionId: req.GetTransactionId(), BootId: s.cfg.BootID}
	for _, act := range req.GetActions() {
		rep := s.contexts.Apply(act)
		reply.Actions = append(reply.Actions, rep)
		if rep.GetError() != nil {
			s.cfg.Metrics.errors.WithLabelValues(codeLabel(rep.GetError().GetCode())).Inc()
			s.cfg.Logger.Info("action failed", zap.String("transaction", req.GetTransactionId()),
				zap.String("mgc", connmodel.Clip(req.GetMgcInstance())), zap.String("context", rep.GetContextId()),
				zap.String("correlation_id", connmodel.Clip(act.GetAttributes().GetCorrelationId())),
				zap.Uint32("code", rep.GetError().GetCode()), zap.String("text", rep.GetError().GetText()))
			break
		}
	}
	return reply
}

// ServiceChange is directed by the MGC: drain, release, cancel a drain (H.248.1 §7.2.8).
func (s *Server) ServiceChange(ctx context.Context, req *iqv1.ServiceChangeRequest) (*iqv1.ServiceChangeReply, error) {
	reply := &iqv1.ServiceChangeReply{ProfileVersion: ProfileVersion}
	reply.Error = s.serviceChange(req).Descriptor()
	return reply, nil
}

func (s *Server) serviceChange(req *iqv1.ServiceChangeRequest) *connmodel.Error {
	switch {
	case req.GetMgwId() != "" && req.GetMgwId() != s.cfg.MGWID:
		return connmodel.Errorf(gwerr.IncorrectIdentifier, "this is %s, not %q", s.cfg.MGWID, connmodel.Clip(req.GetMgwId()))
	case req.GetBootId() != "" && req.GetBootId() != s.cfg.BootID:
		return connmodel.Errorf(gwerr.BeforeRestart, "boot_id is %s, not %q", s.cfg.BootID, connmodel.Clip(req.GetBootId()))
	}
	switch req.GetMethod() {
	case iqv1.ServiceChangeRequest_METHOD_GRACEFUL:
		if d := req.GetDelay(); d != nil && (!d.IsValid() || d.AsDuration() < 0) {
			return connmodel.Errorf(gwerr.UnsupportedValue, "delay %v", d.AsDuration())
		}
		s.drain.Graceful(req.GetDelay().AsDuration())
	case iqv1.ServiceChangeRequest_METHOD_FORCED:
		s.drain.Forced()
	case iqv1.ServiceChangeRequest_METHOD_RESTART:
		s.drain.Cancel()
	case iqv1.ServiceChangeRequest_METHOD_UNSPECIFIED:
		return connmodel.Errorf(gwerr.SyntaxErrorInActionID, "method is not given")
	default:
		return connmodel.Errorf(gwerr.UnsupportedValue, "method %s towards a gateway", req.GetMethod())
	}
	return nil
}

// AuditCapabilities reports what the MGW can do (H.248.1 §7.2.6).
func (s *Server) AuditCapabilities(context.Context, *iqv1.AuditCapabilitiesRequest) (*iqv1.Capabilities, error) {
	return s.cfg.Capabilities(), nil
}

// validID reports whether s may be an id in maps and logs: 1 to 64 letters, digits or "-_.:".
func validID(s string) bool {
	if s == "" || len(s) > maxIDLength {
		return false
	}
	for _, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '.', c == ':':
		default:
			return false
		}
	}
	return true
}
