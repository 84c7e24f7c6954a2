package main

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	adminv1 "github.com/isthmus-gateway/isthmus/proto/admin/v1"
)

// controller is an admin service that keeps what it is asked.
type controller struct {
	adminv1.UnimplementedControllerAdminServer
	asked []string
}

func (c *controller) PlaySignal(_ context.Context, r *adminv1.PlaySignalRequest) (*adminv1.PlaySignalResponse, error) {
	if r.CallId == "none" {
		return nil, status.Error(codes.NotFound, "no such call")
	}
	c.asked = append(c.asked, fmt.Sprintf("play %s %s %s%s %d %v", r.CallId, r.To, r.Signal, r.Announcement, r.Repeat, r.Duration.AsDuration()))
	return &adminv1.PlaySignalResponse{}, nil
}

func (c *controller) StopSignal(_ context.Context, r *adminv1.StopSignalRequest) (*adminv1.StopSignalResponse, error) {
	c.asked = append(c.asked, "stop "+r.CallId+" "+r.To)
	return &adminv1.StopSignalResponse{}, nil
}

func (c *controller) ListCalls(context.Context, *adminv1.ListCallsRequest) (*adminv1.ListCallsResponse, error) {
	return &adminv1.ListCallsResponse{Calls: []*adminv1.Call{{CallId: "k1", State: "confirmed", Direction: "originating", From: "sip:a", To: "sip:b"}}}, nil
}

func TestCommands(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c, s := &controller{}, grpc.NewServer()
	adminv1.RegisterControllerAdminServer(s, c)
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(lis) }()
	t.Cleanup(func() { s.Stop(); <-done })
	var out strings.Builder
	for line, want := range map[string]string{
		"play k1 busy": "play k1 browser cg/bt 0 0s",
		"play --to core k1 file:welcome --repeat 2": "play k1 core an/apfwelcome 2 0s",
		"play k1 ringing --for 5s":                  "play k1 browser cg/rt 0 5s",
		"play k1 digit:#":                           "play k1 browser dg/do 0 0s",
		"play k1 cg/sit":                            "play k1 browser cg/sit 0 0s",
		"stop k1 --to core":                         "stop k1 core",
		"calls":                                     "",
		"calls now":                                 "error: 1 words, 0 are needed; --help tells which",
		"":                                          "", // usage: five of them
		"--help":                                    "",
		"calls --help":                              "",
		"play --help":                               "",
		"stop k1 --help":                            "",
		"play k1":                                   "error: 1 words, 2 are needed; --help tells which",
		"play none busy":                            "error: NotFound: no such call",
		"dance":                                     "error: unknown command \"dance\"; --help lists them",
		"stop k1 --loud":                            "error: flag provided but not defined: -loud",
	} {
		c.asked = nil
		if err := run(append([]string{"--mgc", lis.Addr().String()}, strings.Fields(line)...), &out); err != nil {
			c.asked = append(c.asked, "error: "+err.Error())
		}
		if got := strings.Join(c.asked, ", "); got != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
	if got := out.String(); !strings.Contains(got, "k1 confirmed originating sip:a -> sip:b\n") || strings.Count(got, "usage:") != 5 {
		t.Errorf("printed %s", got)
	}
}
