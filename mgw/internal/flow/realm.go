package flow

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/portset"
	"github.com/isthmus-gateway/isthmus/mgw/internal/udpio"
)

// coreRealm is the port pairs of one core realm. Safe for concurrent use.
type coreRealm struct {
	name              string
	listen, advertise netip.Addr
	ports             *portset.Set
}

func newCoreRealm(r CoreRealm, quarantine time.Duration) (*coreRealm, error) {
	if !r.Listen.IsValid() {
		return nil, fmt.Errorf("flow: realm %q: no listen address", r.Name)
	}
	ports, err := portset.New(r.PortMin, r.PortMax, quarantine)
	if err != nil {
		return nil, fmt.Errorf("flow: realm %q: %w", r.Name, err)
	}
	c := &coreRealm{name: r.Name, listen: r.Listen, advertise: r.Advertise, ports: ports}
	if !c.advertise.IsValid() {
		c.advertise = r.Listen
	}
	return c, nil
}

// open takes a port pair and binds both halves. A pair that another program holds is skipped, and given back to rest.
func (r *coreRealm) open() (media, control *udpio.Socket, even uint16, err error) {
	var skipped []uint16
	defer func() {
		for _, p := range skipped {
			r.ports.Release(time.Now(), p)
		}
	}()
	for {
		even, err = r.ports.Take(time.Now())
		if errors.Is(err, portset.ErrExhausted) {
			return nil, nil, 0, fmt.Errorf("%w %q", ErrPortsExhausted, r.name)
		}
		if err != nil {
			return nil, nil, 0, err
		}
		if media, control, err = r.bind(even); err == nil {
			return media, control, even, nil
		}
		skipped = append(skipped, even)
		if len(skipped) == maxSkipped {
			return nil, nil, 0, fmt.Errorf("%w %q: %w", ErrPortsExhausted, r.name, err)
		}
	}
}

// maxSkipped bounds the search for a pair that no other program holds.
const maxSkipped = 64

func (r *coreRealm) bind(even uint16) (media, control *udpio.Socket, err error) {
	o := udpio.Options{ReceiveBuffer: coreBuffer}
	if media, err = udpio.Open(netip.AddrPortFrom(r.listen, even), o); err != nil {
		return nil, nil, err
	}
	if control, err = udpio.Open(netip.AddrPortFrom(r.listen, even+1), o); err != nil {
		_ = media.Close()
		return nil, nil, err
	}
	return media, control, nil
}

// release closes both sockets and lets the pair rest.
func (r *coreRealm) release(media, control *udpio.Socket, even uint16) {
	_ = media.Close()
	_ = control.Close()
	r.ports.Release(time.Now(), even)
}
