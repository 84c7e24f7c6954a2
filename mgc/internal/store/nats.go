package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Config says where the records live. The zero value is the embedded engine.
type Config struct {
	URL        string        // "nats://host:port[,...]" of an external cluster; empty: embedded in this process
	Bucket     string        // key-value bucket; default "isthmus"; all instances of a pool use the same
	Replicas   int           // copies of each record, 1 to 5; default 1; external clusters should use 3
	Persist    bool          // keep records in files instead of memory; external clusters only
	CredsFile  string        // NATS credentials (JWT and seed); external only
	CAFile     string        // PEM file of CAs for TLS; external only
	CertFile   string        // PEM client certificate; with KeyFile; external only
	KeyFile    string        // PEM client key
	Dir        string        // where the embedded engine makes its private directory; default: the system's temporary one
	MaxBytes   int64         // most memory of the embedded engine in bytes; default 1 GiB
	OpTimeout  time.Duration // bound of one operation whose context has no deadline; default 2 s
	ClientName string        // shown by the server's monitoring; default "isthmus-mgc"
}

func (c *Config) defaults() {
	if c.Bucket == "" {
		c.Bucket = "isthmus"
	}
	if c.Replicas == 0 {
		c.Replicas = 1
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = 1 << 30
	}
	if c.OpTimeout == 0 {
		c.OpTimeout = 2 * time.Second
	}
	if c.ClientName == "" {
		c.ClientName = "isthmus-mgc"
	}
}

// markerTTL is how long a deletion stays visible to watches that are behind. A watch that reconnects starts over, so
// nothing depends on it but how soon the server forgets the key.
const markerTTL = 30 * time.Second

// maxEnvelope is what the server counts to a value's size beside the value: subject and headers.
const maxEnvelope = 8 << 10

// Engine is the Store on NATS JetStream key-value. It owns the connection, the embedded server when there is one, and
// the goroutine that looks after the bucket when the connection comes back.
type Engine struct {
	cfg    Config
	server *embedded // nil: external
	nc     *nats.Conn
	js     jetstream.JetStream
	kv     atomic.Pointer[jetstream.KeyValue]

	check chan struct{} // cap 1: look at the bucket; writers: connection handlers, operations; full: a look is pending
	stop  context.CancelFunc
	ctx   context.Context // ends with Close
	wg    sync.WaitGroup  // maintain and the watches

	mu         sync.Mutex    // guards generation, closed
	generation chan struct{} // closed when watches must start over
	closed     bool
}

var _ Store = (*Engine)(nil)

// Open starts the embedded server or connects to the external cluster, and makes the bucket when there is none.
// It blocks for a few milliseconds (embedded) or until ctx ends. Errors: ErrUnavailable.
func Open(ctx context.Context, cfg Config) (*Engine, error) {
	cfg.defaults()
	e := &Engine{cfg: cfg, check: make(chan struct{}, 1), generation: make(chan struct{})}
	e.ctx, e.stop = context.WithCancel(context.Background())
	if err := e.connect(); err != nil {
		e.Close()
		return nil, err
	}
	if err := e.ensureBucket(ctx); err != nil {
		e.Close()
		return nil, err
	}
	e.wg.Add(1)
	go e.maintain()
	return e, nil
}

func (e *Engine) connect() error {
	opts := []nats.Option{
		nats.Name(e.cfg.ClientName),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(250 * time.Millisecond),
		// No buffering while disconnected: a write that is reported as failed must not happen seconds later.
		nats.ReconnectBufSize(-1),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) { e.look() }),
		nats.ReconnectHandler(func(*nats.Conn) { e.look() }),
	}
	url := e.cfg.URL
	if url == "" {
		srv, err := startEmbedded(e.cfg)
		if err != nil {
			return err
		}
		e.server = srv
		opts = append(opts, nats.InProcessServer(srv.srv))
	} else {
		opts = append(opts, e.externalOptions()...)
	}
	nc, err := nats.Connect(url, opts...)
	if err != nil {
		return fmt.Errorf("connect to the store: %w: %w", ErrUnavailable, err)
	}
	e.nc = nc
	e.js, err = jetstream.New(nc, jetstream.WithDefaultTimeout(e.cfg.OpTimeout))
	if err != nil {
		return fmt.Errorf("open JetStream: %w", err)
	}
	return nil
}

func (e *Engine) externalOptions() []nats.Option {
	var opts []nats.Option
	if e.cfg.CredsFile != "" {
		opts = append(opts, nats.UserCredentials(e.cfg.CredsFile))
	}
	if e.cfg.CAFile != "" {
		opts = append(opts, nats.RootCAs(e.cfg.CAFile))
	}
	if e.cfg.CertFile != "" {
		opts = append(opts, nats.ClientCert(e.cfg.CertFile, e.cfg.KeyFile))
	}
	return opts
}

// Conn is the engine's connection, for the message bus; it closes with the engine.
func (e *Engine) Conn() *nats.Conn { return e.nc }

// Embedded reports whether the records live in this process only.
func (e *Engine) Embedded() bool { return e.server != nil }

// Healthy reports whether the engine is connected to its server; nil or ErrUnavailable.
func (e *Engine) Healthy() error {
	if e.nc.Status() != nats.CONNECTED {
		return fmt.Errorf("%w: connection is %s", ErrUnavailable, e.nc.Status())
	}
	return nil
}

// Close ends all watches, the connection and the embedded server, and waits for their goroutines.
func (e *Engine) Close() {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return
	}
	e.closed = true
	e.mu.Unlock()
	e.stop()
	e.wg.Wait()
	if e.nc != nil {
		e.nc.Close()
	}
	if e.server != nil {
		e.server.close()
	}
}

// look asks maintain to look at the bucket; it never blocks.
func (e *Engine) look() {
	select {
	case e.check <- struct{}{}:
	default:
	}
}

// maintain looks at the bucket after each reconnection: a server without persistence comes back empty, and a watch
// may have missed deletions. It is owned by the engine and ends with Close.
func (e *Engine) maintain() {
	defer e.wg.Done()
	for {
		select {
		case <-e.ctx.Done():
			return
		case <-e.check:
		}
		ctx, cancel := context.WithTimeout(e.ctx, e.cfg.OpTimeout)
		err := e.ensureBucket(ctx)
		cancel()
		if err == nil {
			e.restartWatches()
			continue
		}
		select { // not yet back: look again
		case <-e.ctx.Done():
			return
		case <-time.After(500 * time.Millisecond):
			e.look()
		}
	}
}

func (e *Engine) restartWatches() {
	e.mu.Lock()
	defer e.mu.Unlock()
	close(e.generation)
	e.generation = make(chan struct{})
}

func (e *Engine) currentGeneration() chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.generation
}

func (e *Engine) ensureBucket(ctx context.Context) error {
	cfg := jetstream.KeyValueConfig{
		Bucket: e.cfg.Bucket, Description: "Isthmus controller state", History: 1, Replicas: e.cfg.Replicas,
		Storage: jetstream.MemoryStorage, LimitMarkerTTL: markerTTL,
		MaxValueSize: MaxValue + maxEnvelope,
	}
	if e.cfg.Persist {
		cfg.Storage = jetstream.FileStorage
	}
	kv, err := e.js.CreateKeyValue(ctx, cfg)
	if errors.Is(err, jetstream.ErrBucketExists) { // made by another instance or by the operator with other settings
		kv, err = e.js.KeyValue(ctx, e.cfg.Bucket)
	}
	if err != nil {
		return mapError("open bucket", e.cfg.Bucket, err)
	}
	e.kv.Store(&kv)
	return nil
}
