package contexts

import (
	"fmt"

	"github.com/isthmus-gateway/isthmus/mgw/internal/connmodel"
	"github.com/isthmus-gateway/isthmus/mgw/internal/flow"
)

// Media is the packet path as contexts drive it; Engine makes one of a flow.Engine. Methods may block for as long as a
// worker needs to take a command.
type Media interface {
	// NewAccess opens an access termination with its first stream, on the worker of near, an Access or a Core, unless that is nil.
	NewAccess(spec connmodel.NewAccess, near Stream) (Access, error)
	// NewStream opens a further stream of an access termination, which is to be closed before it.
	NewStream(a Access, spec connmodel.NewStream) (Stream, connmodel.Chosen, error)
	// NewCore opens a stream of a core termination, on the worker of near unless that is nil.
	NewCore(spec connmodel.NewCore, near Stream) (Core, error)
	// Connect lets media pass between a stream of an access termination, its first one being the Access, and one of a core termination.
	Connect(a Stream, c Core) error
	Disconnect(a Stream, c Core) error
}

// Stream is what streams of access and core terminations have in common; see flow.Endpoint.
type Stream interface {
	Configure(flow.Settings) error
	Play(flow.Signals) error
	Stats() flow.Stats
	Close() flow.Stats
}

// Access is a termination towards a browser, and the first of its streams; see flow.Access.
type Access interface {
	Stream
	Local() flow.AccessLocal
	SetRemote(flow.AccessRemote) error
	RestartICE() error
	GiveUpComponent2()
}

// Core is a stream of a termination towards the core network; see flow.Core.
type Core interface {
	Stream
	Local() flow.CoreLocal
	SetRemote(flow.CoreRemote) error
}

// Engine makes Media of the packet path.
func Engine(e *flow.Engine) Media { return engine{e} }

type engine struct{ *flow.Engine }

func (e engine) NewAccess(x connmodel.NewAccess, near Stream) (Access, error) {
	spec := flow.AccessSpec{ID: string(x.Term), Stream: uint32(x.Stream), Realm: x.Realm, Full: x.Full, Component2: x.Component2}
	spec.Near, _ = near.(flow.Neighbour)
	a, err := e.Engine.NewAccess(spec)
	if err != nil {
		return nil, err // not a nil *flow.Access in an interface
	}
	return a, nil
}

func (e engine) NewStream(a Access, x connmodel.NewStream) (Stream, connmodel.Chosen, error) {
	fa, ok := a.(*flow.Access)
	if !ok {
		return nil, connmodel.Chosen{}, foreign(a)
	}
	s, err := fa.NewStream(flow.StreamSpec{Stream: uint32(x.Stream)})
	if err != nil {
		return nil, connmodel.Chosen{}, err
	}
	l := s.Local()
	return s, connmodel.Chosen{SSRC: l.SSRC, CName: l.CName}, nil
}

func (e engine) NewCore(x connmodel.NewCore, near Stream) (Core, error) {
	spec := flow.CoreSpec{ID: string(x.Term), Stream: uint32(x.Stream), Realm: x.Realm}
	spec.Near, _ = near.(flow.Neighbour)
	if own, ok := near.(*flow.Core); ok && own.ID() == spec.ID {
		spec.CName = own.Local().CName // all streams are of one end (RFC 7022 §4)
	}
	c, err := e.Engine.NewCore(spec)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (e engine) Connect(a Stream, c Core) error { return join(a, c, e.Engine.Connect) }

func (e engine) Disconnect(a Stream, c Core) error { return join(a, c, e.Engine.Disconnect) }

func join(a Stream, c Core, do func(flow.AccessEnd, *flow.Core) error) error {
	fa, ok := a.(flow.AccessEnd)
	if !ok {
		return foreign(a)
	}
	fc, ok := c.(*flow.Core)
	if !ok {
		return foreign(c)
	}
	return do(fa, fc)
}

func foreign(x any) error { return fmt.Errorf("contexts: %T is not of this engine", x) }
