package runner

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestStopsInReverseOrder(t *testing.T) {
	defer goleak.VerifyNone(t)
	var r Runner
	var order []string
	for _, name := range []string{"a", "b", "c"} {
		r.Start(Part{Name: name, Run: func(ctx context.Context) error {
			<-ctx.Done()
			order = append(order, name) // Stop waits for each part before the next
			return ctx.Err()
		}})
	}
	if err := r.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(order, []string{"c", "b", "a"}) {
		t.Errorf("order %v", order)
	}
}

func TestFailureIsReported(t *testing.T) {
	defer goleak.VerifyNone(t)
	var r Runner
	boom := errors.New("boom")
	r.Start(Part{Name: "ok", Run: func(ctx context.Context) error { <-ctx.Done(); return nil }})
	r.Start(Part{Name: "bad", Run: func(context.Context) error { return boom }})
	err := <-r.Failed()
	if !errors.Is(err, boom) || !strings.HasPrefix(err.Error(), "bad: ") {
		t.Errorf("got %v", err)
	}
	if err := r.Stop(context.Background()); !errors.Is(err, boom) {
		t.Errorf("Stop returned %v", err)
	}
}
