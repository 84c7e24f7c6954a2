package store

import (
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// embedded is the NATS server inside this process: no listener, reached by in-process connections only.
type embedded struct {
	srv *server.Server
	dir string // private; JetStream keeps its metadata here
}

func startEmbedded(cfg Config) (*embedded, error) {
	dir, err := os.MkdirTemp(cfg.Dir, "isthmus-store-")
	if err != nil {
		return nil, fmt.Errorf("make the store's directory: %w", err)
	}
	srv, err := server.NewServer(&server.Options{
		ServerName: "isthmus-embedded", DontListen: true, NoLog: true, NoSigs: true,
		JetStream: true, StoreDir: dir, JetStreamMaxMemory: cfg.MaxBytes, JetStreamMaxStore: 16 << 20,
		MaxPayload: MaxValue + 64<<10,
	})
	if err != nil {
		_ = os.RemoveAll(dir)
		return nil, fmt.Errorf("make the embedded store: %w", err)
	}
	s := &embedded{srv: srv, dir: dir}
	srv.Start()
	if !srv.ReadyForConnections(5 * time.Second) {
		s.close()
		return nil, fmt.Errorf("start the embedded store: %w: not ready after 5 s", ErrUnavailable)
	}
	return s, nil
}

// close stops the server, waits for it and removes its directory.
func (s *embedded) close() {
	s.srv.Shutdown()
	s.srv.WaitForShutdown()
	_ = os.RemoveAll(s.dir)
}
