package admin

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	adminv1 "github.com/isthmus-gateway/isthmus/proto/admin/v1"
)

func TestListsInOrder(t *testing.T) {
	defer goleak.VerifyNone(t)
	now, away := time.Now(), false
	s, _ := NewServer(Source{
		Nodes: func() []*adminv1.Node { return []*adminv1.Node{{MgwId: "b"}, {MgwId: "a"}} },
		Calls: func() []*adminv1.Call {
			return []*adminv1.Call{{CallId: "2", Started: Time(now)}, {CallId: "1", Started: Time(now.Add(-time.Second))}}
		},
		Registrations: func() []*adminv1.Registration { return []*adminv1.Registration{{Aor: "sip:b@x"}, {Aor: "sip:a@x"}} },
		Resources: func(context.Context) (*adminv1.ControllerResourcesResponse, error) {
			if away {
				return nil, errors.New("the store is away")
			}
			return &adminv1.ControllerResourcesResponse{Calls: 2, StoreKeys: map[string]uint32{"call": 3}}, nil
		},
	})
	lis := bufconn.Listen(1 << 16)
	done := make(chan error, 1)
	go func() { done <- s.Serve(lis) }()
	conn, err := grpc.NewClient("passthrough:///admin", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return lis.Dial() }))
	if err != nil {
		t.Fatal(err)
	}
	c := adminv1.NewControllerAdminClient(conn)
	ctx := t.Context()
	if r, err := c.ListNodes(ctx, &adminv1.ListNodesRequest{}); err != nil || len(r.Nodes) != 2 || r.Nodes[0].MgwId != "a" {
		t.Errorf("nodes: %v %v", r, err)
	}
	if r, err := c.ListCalls(ctx, &adminv1.ListCallsRequest{}); err != nil || len(r.Calls) != 2 || r.Calls[0].CallId != "1" {
		t.Errorf("calls: %v %v", r, err)
	}
	if r, err := c.ListRegistrations(ctx, &adminv1.ListRegistrationsRequest{}); err != nil || len(r.Registrations) != 2 || r.Registrations[0].Aor != "sip:a@x" {
		t.Errorf("registrations: %v %v", r, err)
	}
	if r, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{}); err != nil || r.Status != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("health: %v %v", r, err)
	}
	if r, err := c.ControllerResources(ctx, &adminv1.ControllerResourcesRequest{}); err != nil || r.Calls != 2 || r.StoreKeys["call"] != 3 {
		t.Errorf("resources: %v %v", r, err)
	}
	away = true
	if _, err := c.ControllerResources(ctx, &adminv1.ControllerResourcesRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("resources without the store: %v", err)
	}
	conn.Close()
	s.Stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if Time(time.Time{}) != nil {
		t.Error("zero time is shown")
	}
}
