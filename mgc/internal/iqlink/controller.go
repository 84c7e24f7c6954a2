package iqlink

import (
	"context"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/isthmus-gateway/isthmus/pkg/gwerr"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// controller serves the MGWs. It is apart from Link so that the service's methods are not part of the link's API.
type controller struct {
	iqv1.UnimplementedMediaGatewayControllerServer
	l *Link
}

// authorised checks that the certificate of the peer, when there is TLS, carries the name mgw.
func authorised(ctx context.Context, mgw string) bool {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return false
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return true // plaintext: only allowed where Serve has admitted it
	}
	certs := info.State.PeerCertificates
	return len(certs) > 0 && certs[0].VerifyHostname(mgw) == nil
}

const notAuthorised = "the peer certificate does not carry the name of this mgw_id"

// ServiceChange implements the service.
func (c *controller) ServiceChange(ctx context.Context, r *iqv1.ServiceChangeRequest) (*iqv1.ServiceChangeReply, error) {
	start := time.Now()
	if !authorised(ctx, r.GetMgwId()) {
		c.l.metrics.observe("in_service_change", start, nil, true)
		return &iqv1.ServiceChangeReply{MgcInstance: c.l.cfg.Instance,
			Error: &iqv1.ErrorDescriptor{Code: uint32(gwerr.Unauthorised), Text: notAuthorised}}, nil
	}
	reply, err := c.l.registry.ServiceChange(ctx, r)
	c.l.metrics.observe("in_service_change", start, err, reply.GetError() != nil)
	if err != nil {
		c.l.log.Warn("MGW could not be registered", zap.String("mgw", clip(r.GetMgwId())), zap.Error(err))
		return nil, status.Error(codes.Unavailable, "the pool's store is not available")
	}
	fields := []zap.Field{zap.String("mgw", clip(r.GetMgwId())), zap.String("boot", clip(r.GetBootId())),
		zap.Stringer("method", r.GetMethod()), zap.Uint32("reason", r.GetReason()), zap.String("address", clip(r.GetAddress()))}
	if e := reply.GetError(); e != nil {
		c.l.log.Warn("MGW service change refused", append(fields, zap.Uint32("code", e.GetCode()), zap.String("text", e.GetText()))...)
	} else {
		c.l.log.Info("MGW service change", fields...)
	}
	return reply, nil
}

// clip bounds what peers put into the log; zap escapes it.
func clip(s string) string { return s[:min(len(s), 128)] }

// Heartbeat implements the service.
func (c *controller) Heartbeat(ctx context.Context, r *iqv1.HeartbeatRequest) (*iqv1.HeartbeatReply, error) {
	if !authorised(ctx, r.GetMgwId()) {
		return nil, status.Error(codes.PermissionDenied, notAuthorised)
	}
	start := time.Now()
	reply := c.l.registry.Heartbeat(ctx, r)
	c.l.metrics.observe("in_heartbeat", start, nil, reply.GetReRegister())
	return reply, nil
}

// Notify implements the service: at most one delivery of each (mgw, boot, context, seq) to the call, as far as this
// instance remembers; calls tolerate repetitions that come through another one.
func (c *controller) Notify(ctx context.Context, r *iqv1.NotifyRequest) (*iqv1.NotifyReply, error) {
	if !authorised(ctx, r.GetMgwId()) {
		return nil, status.Error(codes.PermissionDenied, notAuthorised)
	}
	if r.GetContextId() == "" || r.GetEventSeq() == 0 || len(r.GetCorrelationId()) > 128 || len(r.GetContextId()) > 256 || len(r.GetBootId()) > 128 {
		return nil, status.Error(codes.InvalidArgument, "context_id, event_seq from 1 and a correlation_id of at most 128 bytes are needed")
	}
	select {
	case c.l.slots <- struct{}{}:
		defer func() { <-c.l.slots }()
	default:
		return c.verdict("busy", iqv1.NotifyReply_VERDICT_RETRY_LATER), nil
	}
	release, seen, err := c.l.dedup.enter(ctx, dedupKey{r.GetMgwId(), r.GetBootId(), r.GetContextId()}, r.GetEventSeq())
	if err != nil {
		return c.verdict("waited", iqv1.NotifyReply_VERDICT_RETRY_LATER), nil
	}
	if seen {
		return c.verdict("duplicate", iqv1.NotifyReply_VERDICT_ACK), nil
	}
	v := c.l.notify(ctx, r)
	release(v == iqv1.NotifyReply_VERDICT_ACK)
	return c.verdict(verdictLabel(v), v), nil
}

func (c *controller) verdict(label string, v iqv1.NotifyReply_Verdict) *iqv1.NotifyReply {
	c.l.metrics.notifies.WithLabelValues(label).Inc()
	return &iqv1.NotifyReply{Verdict: v}
}

func verdictLabel(v iqv1.NotifyReply_Verdict) string {
	switch v {
	case iqv1.NotifyReply_VERDICT_ACK:
		return "ack"
	case iqv1.NotifyReply_VERDICT_UNKNOWN_CONTEXT:
		return "unknown_context"
	}
	return "retry_later"
}
