package contexts

import (
	"fmt"

	"github.com/isthmus-gateway/isthmus/mgw/internal/flow"
)

// Media is the packet path as contexts drive it; Engine makes one of a flow.Engine. Methods may block for as long as a
// worker needs to take a command.
type Media interface {
	// NewAccess opens an access termination in a realm, on the worker of near unless that is nil. full: full ICE. apart: RTCP has a
	// component of its own.
	NewAccess(id, realm string, near Core, full, component2 bool) (Access, error)
	// NewCore opens a core termination in a realm, on the worker of near unless that is nil.
	NewCore(id, realm string, near Access) (Core, error)
	Connect(Access, Core) error
	Disconnect(Access, Core) error
}

// Termination is what access and core terminations have in common; see flow.Endpoint.
type Termination interface {
	Configure(flow.Settings) error
	Play(flow.Signals) error
	Stats() flow.Stats
	Close() flow.Stats
}

// Access is a termination towards a browser; see flow.Access.
type Access interface {
	Termination
	Local() flow.AccessLocal
	SetRemote(flow.AccessRemote) error
	RestartICE() error
}

// Core is a termination towards the core network; see flow.Core.
type Core interface {
	Termination
	Local() flow.CoreLocal
	SetRemote(flow.CoreRemote) error
}

// Engine makes Media of the packet path.
func Engine(e *flow.Engine) Media { return engine{e} }

type engine struct{ *flow.Engine }

func (e engine) NewAccess(id, realm string, near Core, full, component2 bool) (Access, error) {
	spec := flow.AccessSpec{ID: id, Realm: realm, Full: full, Component2: component2}
	if c, ok := near.(*flow.Core); ok {
		spec.Near = c
	}
	a, err := e.Engine.NewAccess(spec)
	if err != nil {
		return nil, err // not a nil *flow.Access in an interface
	}
	return a, nil
}

func (e engine) NewCore(id, realm string, near Access) (Core, error) {
	spec := flow.CoreSpec{ID: id, Realm: realm}
	if a, ok := near.(*flow.Access); ok {
		spec.Near = a
	}
	c, err := e.Engine.NewCore(spec)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (e engine) Connect(a Access, c Core) error {
	fa, fc, err := both(a, c)
	if err != nil {
		return err
	}
	return e.Engine.Connect(fa, fc)
}

func (e engine) Disconnect(a Access, c Core) error {
	fa, fc, err := both(a, c)
	if err != nil {
		return err
	}
	return e.Engine.Disconnect(fa, fc)
}

func both(a Access, c Core) (*flow.Access, *flow.Core, error) {
	fa, okA := a.(*flow.Access)
	fc, okC := c.(*flow.Core)
	if !okA || !okC {
		return nil, nil, fmt.Errorf("contexts: %T and %T are not of this engine", a, c)
	}
	return fa, fc, nil
}
