package signalling

import (
	"context"
	"fmt"
	"strings"
	"time"

	adminv1 "github.com/isthmus-gateway/isthmus/proto/admin/v1"
)

// resources are what the controller says it holds.
func (s *system) resources(ctx context.Context) (*adminv1.ControllerResourcesResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r, err := s.admin.ControllerResources(ctx, &adminv1.ControllerResourcesRequest{})
	if err != nil {
		return nil, fmt.Errorf("signalling: %s: %w", s.name, err)
	}
	return r, nil
}

const (
	// emptyAfter bounds the wait for an empty controller: its transactions live for 64*T1 after their last message.
	emptyAfter = 64*t1 + 20*time.Second
	// spareGoroutines are those that connections between the controller and this program come and go with.
	spareGoroutines = 8
)

// empty waits until the controller holds what it held before and says what is left in the end; "": nothing.
func (s *system) empty(ctx context.Context, before *adminv1.ControllerResourcesResponse) (string, error) {
	deadline := time.Now().Add(emptyAfter)
	for {
		now, err := s.resources(ctx)
		if err != nil {
			return "", err
		}
		left := leftover(before, now)
		if n := s.gw.contexts(); n > 0 {
			left = append(left, fmt.Sprintf("%d contexts", n))
		}
		if len(left) == 0 || time.Now().After(deadline) {
			return strings.Join(left, ", "), nil
		}
		if err := until(ctx, time.Now().Add(time.Second)); err != nil {
			return "", err
		}
	}
}

// leftover names what there is more of than before.
func leftover(before, now *adminv1.ControllerResourcesResponse) (out []string) {
	more := func(what string, n, than, spare uint32) {
		if n > than+spare {
			out = append(out, fmt.Sprintf("%d %s", n-than, what))
		}
	}
	more("calls", now.GetCalls(), before.GetCalls(), 0)
	more("registrations", now.GetRegistrations(), before.GetRegistrations(), 0)
	more("server transactions", now.GetServerTransactions(), before.GetServerTransactions(), 0)
	more("client transactions", now.GetClientTransactions(), before.GetClientTransactions(), 0)
	more("goroutines", now.GetGoroutines(), before.GetGoroutines(), spareGoroutines)
	for kind, n := range now.GetStoreKeys() {
		more("records of "+kind, n, before.GetStoreKeys()[kind], 0)
	}
	return out
}
