package iqlink

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/isthmus-gateway/isthmus/pkg/gwerr"
)

// Reasons why a command could not be brought to an MGW; compare with errors.Is. Errors that the MGW itself reports
// (H.248.8) are no Go errors: they travel in the reply.
var (
	// ErrUnreachable: no answer within the deadline, or no connection; a TLS handshake that fails is no connection. The transaction may have been executed: repeat it
	// with the same id, or release with Subtract. SIP: 503.
	ErrUnreachable = errors.New("iqlink: media gateway unreachable")
	// ErrOverloaded: the MGW refused for overload; try another one. SIP: 503.
	ErrOverloaded = errors.New("iqlink: media gateway overloaded")
	// ErrDenied: the MGW does not take commands from us, or its address may not be dialled.
	ErrDenied = errors.New("iqlink: media gateway not authorised")
	// ErrRejected: the MGW could not make sense of the request: a fault of this program.
	ErrRejected = errors.New("iqlink: request rejected")
	// ErrClosed: the link was closed.
	ErrClosed = errors.New("iqlink: closed")
)

// Error is a failed command. It wraps one of the reasons above and the cause.
type Error struct {
	Op  string // "transact", "audit", "capabilities", "service change"
	MGW string
	ID  string // transaction id; may be empty
	Why error  // one of the reasons
	Err error  // cause
}

// Error implements error.
func (e *Error) Error() string {
	s := e.Op + " at MGW " + e.MGW
	if e.ID != "" {
		s += " (" + e.ID + ")"
	}
	return fmt.Sprintf("%s: %v: %v", s, e.Why, e.Err)
}

// Unwrap gives the reason and the cause.
func (e *Error) Unwrap() []error { return []error{e.Why, e.Err} }

// Code is the error as the call core understands it.
func (e *Error) Code() gwerr.Code {
	switch {
	case errors.Is(e.Why, ErrOverloaded):
		return gwerr.InsufficientResources
	case errors.Is(e.Why, ErrDenied):
		return gwerr.Unauthorised
	case errors.Is(e.Why, ErrRejected):
		return gwerr.BadRequest
	}
	return gwerr.UnreachableGateway
}

// reason sorts a gRPC error.
func reason(err error) error {
	switch status.Code(err) {
	case codes.ResourceExhausted:
		return ErrOverloaded
	case codes.Unauthenticated, codes.PermissionDenied:
		return ErrDenied
	case codes.InvalidArgument, codes.Unimplemented, codes.Internal, codes.OutOfRange:
		return ErrRejected
	}
	return ErrUnreachable
}

// repeatable reports whether the same transaction id may be sent again after err.
func repeatable(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded:
		return true
	}
	return errors.Is(err, context.DeadlineExceeded)
}
