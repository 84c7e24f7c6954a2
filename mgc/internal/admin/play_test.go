package admin

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/isthmus-gateway/isthmus/pkg/gwerr"
	adminv1 "github.com/isthmus-gateway/isthmus/proto/admin/v1"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// TestPlaySignal: what is asked of the call, and the status of each way to fail.
func TestPlaySignal(t *testing.T) {
	noCall := errors.New("no such call")
	var got string
	var fail error
	s := &service{src: Source{NoCall: noCall, Play: func(_ context.Context, call string, browser bool, signals []*iqv1.Signal) error {
		got = fmt.Sprint(call, " ", browser)
		for _, x := range signals {
			got += fmt.Sprintf(" %s%s %s %d %v", x.Name, x.Announcement, x.Type, x.Repeat, x.Duration.AsDuration())
		}
		return fail
	}}}
	for want, r := range map[string]*adminv1.PlaySignalRequest{
		"k true cg/bt TYPE_UNSPECIFIED 0 0s":   {CallId: "k", To: "browser", Signal: "cg/bt"},
		"k false cg/bt TYPE_TIMEOUT 0 5s":      {CallId: "k", To: "core", Signal: "cg/bt", Duration: durationpb.New(5 * time.Second)},
		"k true an/apfx TYPE_BRIEF 2 5s":       {CallId: "k", To: "browser", Signal: "an/apf", Announcement: "x", Repeat: 2, Duration: durationpb.New(5 * time.Second)},
		"k true dg/d5 TYPE_UNSPECIFIED 0 5s":   {CallId: "k", To: "browser", Signal: "dg/d5", Duration: durationpb.New(5 * time.Second)},
		"k true an/apfx TYPE_UNSPECIFIED 0 0s": {CallId: "k", To: "browser", Signal: "an/apf", Announcement: "x"},
	} {
		if _, err := s.PlaySignal(t.Context(), r); err != nil || got != want {
			t.Errorf("%q, want %q: %v", got, want, err)
		}
	}
	if _, err := s.StopSignal(t.Context(), &adminv1.StopSignalRequest{CallId: "k", To: "core"}); err != nil || got != "k false" {
		t.Errorf("stop: %q %v", got, err)
	}
	for _, c := range []struct {
		fail error
		to   string
		want codes.Code
	}{
		{nil, "both", codes.InvalidArgument},
		{fmt.Errorf("%w: k", noCall), "core", codes.NotFound},
		{gwerr.New(gwerr.NoAnnouncement, "play", "k", nil), "core", codes.NotFound},
		{gwerr.New(gwerr.CannotSignal, "play", "k", nil), "core", codes.FailedPrecondition},
		{context.DeadlineExceeded, "core", codes.DeadlineExceeded},
	} {
		fail = c.fail
		if _, err := s.PlaySignal(t.Context(), &adminv1.PlaySignalRequest{CallId: "k", To: c.to, Signal: "cg/bt"}); status.Code(err) != c.want {
			t.Errorf("%v: %v, want %s", c.fail, err, c.want)
		}
	}
	if _, err := s.PlaySignal(t.Context(), &adminv1.PlaySignalRequest{CallId: "k", To: "core"}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("without a signal: %v", err)
	}
}
