package policy

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"time"

	"go.uber.org/zap"
)

// Serve answers notifications on ln over HTTP/2 until ctx ends, then lets those under way finish. certificate: nil for HTTP/2 in clear;
// else it gives the certificate of the moment. It closes ln. Errors: of reading the CAs and of accepting connections.
func (a *N5) Serve(ctx context.Context, ln net.Listener, certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)) error {
	var protocols http.Protocols
	srv := &http.Server{
		Handler: a.Handler(), Protocols: &protocols, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second,
		IdleTimeout: 5 * time.Minute, MaxHeaderBytes: 16 << 10, ErrorLog: zap.NewStdLog(a.deps.Log.WithOptions(zap.IncreaseLevel(zap.ErrorLevel))),
		HTTP2: &http.HTTP2Config{MaxConcurrentStreams: 100, MaxReadFrameSize: 64 << 10},
	}
	if certificate != nil {
		protocols.SetHTTP2(true)
		srv.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: certificate, NextProtos: []string{"h2"}}
		if a.cfg.Callback.ClientCA != "" {
			pool, err := loadCAs(a.cfg.Callback.ClientCA)
			if err != nil {
				_ = ln.Close() // never used
				return err
			}
			srv.TLSConfig.ClientCAs, srv.TLSConfig.ClientAuth = pool, tls.RequireAndVerifyClientCert
		}
	} else {
		protocols.SetUnencryptedHTTP2(true)
	}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		bound, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if srv.Shutdown(bound) != nil {
			_ = srv.Close() // connections that would not end
		}
	})
	var err error
	if certificate != nil {
		err = srv.ServeTLS(ln, "", "")
	} else {
		err = srv.Serve(ln)
	}
	if !stop() {
		<-stopped
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
