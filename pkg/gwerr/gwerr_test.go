package gwerr

import (
	"errors"
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"
)

func TestEveryCodeIsMapped(t *testing.T) {
	for c, r := range table {
		if r.text == "" || r.grpc == codes.OK || r.sip < 400 || r.sip > 699 {
			t.Errorf("%d: incomplete row %+v", c, r)
		}
	}
	if InsufficientResources.SIP() != 503 || UnknownContext.GRPC() != codes.NotFound {
		t.Error("table does not answer")
	}
	if Code(999).SIP() != 500 || Code(999).GRPC() != codes.Unknown {
		t.Error("unknown codes must have a default")
	}
}

func TestCodeOf(t *testing.T) {
	cause := errors.New("boom")
	err := fmt.Errorf("outer: %w", New(UnknownContext, "modify", "c1", cause))
	if CodeOf(err) != UnknownContext || !errors.Is(err, cause) {
		t.Errorf("lost code or cause: %v", err)
	}
	if CodeOf(nil) != 0 || CodeOf(cause) != InternalHardwareFailure {
		t.Error("wrong defaults")
	}
	want := "outer: modify c1: 411 unknown context: boom"
	if err.Error() != want {
		t.Errorf("text %q, want %q", err, want)
	}
}
