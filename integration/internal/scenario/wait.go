package scenario

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// Must ends the test on an error.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Closing closes something at the end; a failure fails the test.
func Closing(t testing.TB, closer func() error) {
	t.Cleanup(func() {
		if err := closer(); err != nil {
			t.Error(err)
		}
	})
}

// Within is a context that bounds one wait; it ends with the test too.
func Within(t testing.TB, limit time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

// Poll asks every 20 ms whether something holds, until it does; false when ctx ended before.
func Poll(ctx context.Context, holds func() bool) bool {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// Until waits until something holds, and ends the test when ctx ends before; it then tells what for, and the last that holds returned.
func Until(ctx context.Context, t testing.TB, what string, holds func() (bool, any)) {
	t.Helper()
	var last any
	if !Poll(ctx, func() (ok bool) { ok, last = holds(); return ok }) {
		t.Fatalf("gave up waiting for %s; last: %+v", what, last)
	}
}

// Still waits until missing returns "", and returns what it returned last when ctx ended before.
func Still(ctx context.Context, missing func() string) (why string) {
	Poll(ctx, func() bool { why = missing(); return why == "" })
	return why
}

// Dir makes a folder for the test with a name shorter than that of t.TempDir: sockets that Chromium makes there must fit in 108 octets (unix(7)).
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "isthmus")
	Must(t, err)
	Closing(t, func() error { return os.RemoveAll(dir) })
	return dir
}

// Sub makes a private folder in dir.
func Sub(t testing.TB, dir, name string) string {
	t.Helper()
	sub := filepath.Join(dir, name)
	Must(t, os.Mkdir(sub, 0o700))
	return sub
}

// Dial makes a connection to a gRPC service of a daemon, until the test ends.
func Dial(t testing.TB, addr string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	Must(t, err)
	Closing(t, conn.Close)
	return conn
}
