package policy

import (
	"context"
	"errors"
	"net/netip"
)

// Agent is the seam between calls and the policy function (Rx or N5). Methods are safe for concurrent use; the owner of a call has one
// operation of the call under way at a time.
type Agent interface {
	// Create asks for the media of a call that has no Session. It blocks until the verdict, at most for the configured time; when
	// ctx ends first its error is ctx's. With an error no application session remains: one that the policy function makes
	// belatedly is deleted by the agent. A Session that is not Open with a nil error means: go on without. Errors: *Refusal,
	// ErrExists, ErrFacts, ctx's.
	Create(ctx context.Context, f Facts) (Session, error)
	// Update tells changed media. The returned Session replaces s, also when there is an error. For a Session that is not Open
	// it is a Create, unless the policy function has nothing to say about this user. Errors: as of Create.
	Update(ctx context.Context, s Session, f Facts) (Session, error)
	// Delete ends s; it never blocks and is repeated beside the caller until it is acknowledged. Deleting twice, or a Session
	// that is not Open, does nothing.
	Delete(s Session)
	// Events delivers what the policy function reports. Bounded: when nobody reads, the policy function is told to come again. It
	// is never closed. An event of a call that the reader does not know names an application session to Delete.
	Events() <-chan Event
}

// Errors that no policy function caused.
var (
	ErrExists = errors.New("policy: the call has an application session or one under way")
	ErrFacts  = errors.New("policy: incomplete facts")
	ErrClosed = errors.New("policy: closed")
)

// Session is an application session at the policy function, a value for the record of the call. The zero value, and any with an empty
// URI, is none.
type Session struct {
	Call     string     `json:"call"`
	URI      string     `json:"uri,omitempty"`      // absolute URI of the resource
	UE       netip.Addr `json:"ue,omitzero"`        // address of the browser that it is for
	Features string     `json:"features,omitempty"` // features that both ends know (TS 29.571 §5.2.2), hexadecimal
	Sent     []int      `json:"sent,omitempty"`     // numbers of the media components that the policy function knows, ascending
	RTCP     []int      `json:"rtcp,omitempty"`     // those of them with an RTCP flow of its own
	Absent   bool       `json:"absent,omitempty"`   // the policy function has no PDU session of this user: it is asked no more
}

// Open reports whether there is an application session.
func (s Session) Open() bool { return s.URI != "" }

// Null is the Agent of a network without a policy function: it grants everything. The zero value is ready.
type Null struct{}

var _ Agent = Null{}

// Create implements Agent.
func (Null) Create(context.Context, Facts) (Session, error) { return Session{}, nil }

// Update implements Agent.
func (Null) Update(_ context.Context, s Session, _ Facts) (Session, error) { return s, nil }

// Delete implements Agent.
func (Null) Delete(Session) {}

// Events implements Agent; nothing ever comes.
func (Null) Events() <-chan Event { return nil }
