package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/types/known/durationpb"

	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// Notify delivers a Notify to the pool: to the controller that we are registered with, else to any other (contexts.Notify).
func (a *Association) Notify(ctx context.Context, req *iqv1.NotifyRequest) (iqv1.NotifyReply_Verdict, error) {
	var errs []error
	for _, p := range a.order() {
		reply, err := p.client.Notify(ctx, req)
		if err == nil {
			return reply.GetVerdict(), nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", p.address, err))
		if ctx.Err() != nil {
			break
		}
	}
	return iqv1.NotifyReply_VERDICT_UNSPECIFIED, fmt.Errorf("notify %s %d: %w", req.GetContextId(), req.GetEventSeq(), errors.Join(errs...))
}

// Announce tells the pool of a change of service state on our own decision: GRACEFUL with a deadline, FORCED (H.248.1 §7.2.8).
func (a *Association) Announce(ctx context.Context, method iqv1.ServiceChangeRequest_Method, delay time.Duration) error {
	req := &iqv1.ServiceChangeRequest{Method: method, Reason: reasonTakenOut}
	if delay > 0 {
		req.Delay = durationpb.New(delay)
	}
	return a.announce(ctx, req)
}

// Interface tells the pool in one message that all terminations of realms on a network interface are out of service, or serve again
// (TS 23.334 §6.1.15). When it gets lost, the next heartbeat tells the same of the realms; a controller of profile version 1, which would take the
// message for root and end all calls of the gateway, is told by heartbeats only, which it does not look at.
func (a *Association) Interface(ctx context.Context, id string, realms []string, serves bool) error {
	a.mu.Lock()
	old := a.active != nil && a.profile < profileInterfaces
	a.mu.Unlock()
	if old {
		a.cfg.Logger.Info("controller knows of no interfaces; heartbeats tell it", zap.String("interface", id), zap.Strings("realms", realms))
		return nil
	}
	req := &iqv1.ServiceChangeRequest{Method: iqv1.ServiceChangeRequest_METHOD_FORCED, Reason: reasonLowerLayer, InterfaceId: cmp.Or(id, "unknown"), Realms: realms}
	if serves {
		req.Method, req.Reason = iqv1.ServiceChangeRequest_METHOD_RESTART, reasonRestored
	}
	return a.announce(ctx, req)
}

// announce sends a change of service state to the active controller.
func (a *Association) announce(ctx context.Context, req *iqv1.ServiceChangeRequest) error {
	a.mu.Lock()
	p := a.active
	a.mu.Unlock()
	if p == nil {
		return errors.New("control: not registered")
	}
	req.MgwId, req.BootId, req.LiveContexts = a.cfg.MGWID, a.cfg.BootID, uint32(a.cfg.Contexts())
	method := req.GetMethod()
	ctx, cancel := context.WithTimeout(ctx, a.cfg.CallTimeout)
	defer cancel()
	reply, err := p.client.ServiceChange(ctx, req)
	if err != nil {
		return fmt.Errorf("announce %s to %s: %w", method, p.address, err)
	}
	if e := reply.GetError(); e != nil {
		return fmt.Errorf("announce %s to %s: refused with %d %q", method, p.address, e.GetCode(), e.GetText())
	}
	return nil
}
