// Package gwerr is the gateway's typed error: one code of H.248.8, mapped to gRPC and SIP in one table. Floor 1 of pkg;
// pure values.
package gwerr

import (
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
)

// Code is an error code of H.248.8, or a private one above 9000.
type Code uint32

// Codes of H.248.8 that Isthmus uses.
const (
	BadRequest              Code = 400  // syntax error in message
	ProtocolError           Code = 401  // protocol error
	IncorrectIdentifier     Code = 410  // incorrect identifier
	UnknownContext          Code = 411  // the transaction refers to an unknown ContextID
	NoContexts              Code = 412  // no ContextIDs available
	SyntaxErrorInAction     Code = 421  // unknown action or illegal combination of actions
	SyntaxErrorInActionID   Code = 422  // syntax error in action
	UnknownTermination      Code = 430  // unknown TerminationID
	NoTerminationMatch      Code = 431  // no TerminationID matched a wildcard
	NoTermination           Code = 432  // out of TerminationIDs or no TerminationID available
	TerminationInContext    Code = 433  // TerminationID is already in a Context
	TooManyTerminations     Code = 434  // max number of Terminations in a Context exceeded
	TerminationNotInContext Code = 435  // TerminationID is not in the specified Context
	MissingRemoteOrLocal    Code = 441  // missing Remote or Local descriptor
	UnsupportedCommand      Code = 443  // unsupported or unknown Command
	UnsupportedDescriptor   Code = 444  // unsupported or unknown Descriptor
	UnsupportedProperty     Code = 445  // unsupported or unknown property
	UnsupportedParameter    Code = 446  // unsupported or unknown parameter
	DescriptorNotLegal      Code = 447  // descriptor not legal in this command
	UnsupportedValue        Code = 449  // unsupported or unknown parameter or property value
	UnknownSignal           Code = 452  // no such signal in this package
	MissingParameter        Code = 457  // missing parameter in signal or event
	NotImplemented          Code = 501  // not implemented
	NotReady                Code = 502  // not ready
	ServiceUnavailable      Code = 503  // service unavailable
	Unauthorised            Code = 504  // command received from unauthorized entity
	BeforeRestart           Code = 505  // transaction request received before a ServiceChange reply
	InsufficientResources   Code = 510  // insufficient resources
	CannotDetect            Code = 512  // media gateway unequipped to detect requested event
	CannotSignal            Code = 513  // media gateway unequipped to generate requested signals
	NoAnnouncement          Code = 514  // media gateway cannot send the specified announcement
	UnsupportedMedia        Code = 515  // unsupported media type
	InvalidMode             Code = 517  // unsupported or invalid mode
	EventBufferFull         Code = 518  // event buffer full
	OutOfService            Code = 521  // termination is "ServiceChanging"
	InsufficientBandwidth   Code = 526  // insufficient bandwidth
	InternalHardwareFailure Code = 529  // internal hardware failure in MG
	TemporaryNetworkFailure Code = 530  // temporary network failure
	PermanentNetworkFailure Code = 531  // permanent network failure
	RevisionMismatch        Code = 9010 // private: expect_revision did not match
	UnreachableGateway      Code = 9020 // private, MGC only: the MGW did not answer
	NoGateway               Code = 9021 // private, MGC only: no MGW in service fits
)

// row is what a code means elsewhere.
type row struct {
	text string
	grpc codes.Code
	sip  int // SIP status towards the party whose request caused it
}

var table = map[Code]row{
	BadRequest:              {"syntax error in message", codes.InvalidArgument, 500},
	ProtocolError:           {"protocol error", codes.InvalidArgument, 500},
	IncorrectIdentifier:     {"incorrect identifier", codes.InvalidArgument, 500},
	UnknownContext:          {"unknown context", codes.NotFound, 481},
	NoContexts:              {"no context available", codes.ResourceExhausted, 503},
	SyntaxErrorInAction:     {"illegal combination of actions", codes.InvalidArgument, 500},
	SyntaxErrorInActionID:   {"syntax error in action", codes.InvalidArgument, 500},
	UnknownTermination:      {"unknown termination", codes.NotFound, 481},
	NoTerminationMatch:      {"no termination matches", codes.NotFound, 481},
	NoTermination:           {"no termination available", codes.ResourceExhausted, 503},
	TerminationInContext:    {"termination is already in a context", codes.FailedPrecondition, 500},
	TooManyTerminations:     {"too many terminations in context", codes.ResourceExhausted, 503},
	TerminationNotInContext: {"termination is not in the context", codes.FailedPrecondition, 500},
	MissingRemoteOrLocal:    {"missing remote or local descriptor", codes.InvalidArgument, 500},
	UnsupportedCommand:      {"unsupported command", codes.Unimplemented, 500},
	UnsupportedDescriptor:   {"unsupported descriptor", codes.Unimplemented, 500},
	UnsupportedProperty:     {"unsupported property", codes.Unimplemented, 500},
	UnsupportedParameter:    {"unsupported parameter", codes.Unimplemented, 500},
	DescriptorNotLegal:      {"descriptor not legal in this command", codes.InvalidArgument, 500},
	UnsupportedValue:        {"unsupported value", codes.InvalidArgument, 488},
	UnknownSignal:           {"no such signal in this package", codes.InvalidArgument, 500},
	MissingParameter:        {"missing parameter in signal or event", codes.InvalidArgument, 500},
	NotImplemented:          {"not implemented", codes.Unimplemented, 501},
	NotReady:                {"not ready", codes.Unavailable, 503},
	ServiceUnavailable:      {"service unavailable", codes.Unavailable, 503},
	Unauthorised:            {"unauthorised", codes.PermissionDenied, 500},
	BeforeRestart:           {"transaction before restart was answered", codes.FailedPrecondition, 503},
	InsufficientResources:   {"insufficient resources", codes.ResourceExhausted, 503},
	CannotDetect:            {"unequipped to detect requested event", codes.FailedPrecondition, 500},
	CannotSignal:            {"unequipped to generate requested signals", codes.FailedPrecondition, 500},
	NoAnnouncement:          {"cannot send the specified announcement", codes.NotFound, 500},
	UnsupportedMedia:        {"unsupported media type", codes.InvalidArgument, 488},
	InvalidMode:             {"invalid mode", codes.InvalidArgument, 500},
	EventBufferFull:         {"event buffer full", codes.ResourceExhausted, 503},
	OutOfService:            {"termination is changing its service state", codes.Unavailable, 503},
	InsufficientBandwidth:   {"insufficient bandwidth", codes.ResourceExhausted, 503},
	InternalHardwareFailure: {"internal hardware failure", codes.Internal, 500},
	TemporaryNetworkFailure: {"temporary network failure", codes.Unavailable, 503},
	PermanentNetworkFailure: {"permanent network failure", codes.Internal, 500},
	RevisionMismatch:        {"context revision mismatch", codes.Aborted, 500},
	UnreachableGateway:      {"media gateway unreachable", codes.Unavailable, 503},
	NoGateway:               {"no media gateway in service", codes.Unavailable, 503},
}

// String is the meaning of the code for people.
func (c Code) String() string {
	if r, ok := table[c]; ok {
		return r.text
	}
	return fmt.Sprintf("error %d", uint32(c))
}

// GRPC is the status that a call gets when it failed as a whole with c.
func (c Code) GRPC() codes.Code {
	if r, ok := table[c]; ok {
		return r.grpc
	}
	return codes.Unknown
}

// SIP is the status for the SIP request that caused c; 500 when c is not in the table.
func (c Code) SIP() int {
	if r, ok := table[c]; ok {
		return r.sip
	}
	return 500
}

// Error is an error at a module's edge. Compare codes with CodeOf.
type Error struct {
	Code Code
	Op   string // what was being done, e.g. "add"
	ID   string // object concerned: context, termination, call; may be empty
	Err  error  // cause; may be nil
}

// New makes an *Error; err may be nil.
func New(code Code, op, id string, err error) *Error {
	return &Error{Code: code, Op: op, ID: id, Err: err}
}

// Newf makes an *Error whose cause is the formatted text; %w works.
func Newf(code Code, op, id, format string, args ...any) *Error {
	return &Error{Code: code, Op: op, ID: id, Err: fmt.Errorf(format, args...)}
}

// Error renders "op id: 411 unknown context: cause".
func (e *Error) Error() string {
	s := e.Op
	if e.ID != "" {
		s += " " + e.ID
	}
	s += fmt.Sprintf(": %d %s", uint32(e.Code), e.Code)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// CodeOf returns the code of the first *Error in err's chain, or InternalHardwareFailure when there is none; 0 for nil.
func CodeOf(err error) Code {
	if err == nil {
		return 0
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return InternalHardwareFailure
}
