package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgc/internal/call"
	"github.com/isthmus-gateway/isthmus/mgc/internal/cdr"
	"github.com/isthmus-gateway/isthmus/mgc/internal/flowtoken"
	"github.com/isthmus-gateway/isthmus/mgc/internal/policy"
	"github.com/isthmus-gateway/isthmus/pkg/tlsfiles"
)

// The two packages name the kind of token on their own, and must agree.
var _ [0]struct{} = [flowtoken.KindCallback - policy.KindCallback]struct{}{}

// lastDeletions is how long a stop waits for the policy function to acknowledge deletions, and for records to reach the disk.
const lastDeletions = 5 * time.Second

// makeCharging makes what is beside the calls: the policy function's agent and the writer of call data records. Both outlive the calls.
// Its parts are nil in deps when they are not configured.
func (a *App) makeCharging(deps *call.Deps) error {
	if a.cfg.Policy.Agent == "n5" {
		agent, err := a.makePolicy()
		if err != nil {
			return err
		}
		deps.Policy = agent
	}
	if a.cfg.CDR.Dir != "" {
		w, err := cdr.Open(a.cfg.CDR, a.cfg.Instance, cdr.NewMetrics(a.metrics), a.log.Named("cdr"))
		if err != nil {
			return err
		}
		a.onClose(func() { a.closeInTime("call data records", w.Close) })
		deps.Records = w
	}
	if deps.Policy != nil || deps.Records != nil {
		deps.PeerOf = a.peerOf
	}
	return nil
}

// peerOf is the address of the browser of a connection.
func (a *App) peerOf(flow string) netip.Addr {
	link, err := a.flows.Get(flow)
	if err != nil {
		return netip.Addr{}
	}
	return link.Flow().Remote.Addr()
}

// makePolicy makes the agent towards a PCF and serves its notifications on a listener of their own.
func (a *App) makePolicy() (*policy.N5, error) {
	agent, err := policy.New(a.cfg.Policy, policy.Deps{Sealer: a.sealer, Metrics: policy.NewMetrics(a.metrics), Log: a.log.Named("policy")})
	if err != nil {
		return nil, err
	}
	a.onClose(func() { a.closeInTime("policy agent", agent.Close) })
	c := a.cfg.Policy.Callback
	var certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	if c.Cert != "" {
		cert, err := tlsfiles.Load(c.Cert, c.Key, 0, a.log)
		if err != nil {
			return nil, fmt.Errorf("policy.callback: %w", err)
		}
		a.onClose(func() { a.note("certificate of the policy callback", cert.Close()) })
		certificate = cert.GetCertificate
	}
	ln, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return nil, fmt.Errorf("policy.callback: %w", err)
	}
	if host, err := netip.ParseAddrPort(ln.Addr().String()); err == nil && !host.Addr().IsLoopback() && c.Cert == "" && !a.cfg.Policy.Insecure {
		_ = ln.Close() // never used
		return nil, errors.New("policy.callback.listen: plaintext beyond loopback needs policy.callback.cert and key, or policy.insecure")
	}
	ctx, stop := context.WithCancel(context.Background())
	a.serve(func() error { return agent.Serve(ctx, ln, certificate) }, stop)
	return agent, nil
}

// closeInTime closes what has to finish something with others.
func (a *App) closeInTime(what string, f func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.Background(), lastDeletions)
	defer cancel()
	if err := f(ctx); err != nil {
		a.log.Warn(what+" left work undone", zap.Error(err))
	}
}
