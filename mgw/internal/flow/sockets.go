package flow

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/isthmus-gateway/isthmus/mgw/internal/ice"
	"github.com/isthmus-gateway/isthmus/mgw/internal/udpio"
)

const (
	// accessBuffer is asked of the kernel for the sockets that all browsers of a worker share: 100 ms of 20,000 packets per second.
	accessBuffer = 4 << 20
	// coreBuffer is for one peer.
	coreBuffer = 64 << 10
)

// open makes certificate, realms, workers and access sockets.
func (e *Engine) open() error {
	if len(e.cfg.Access)+len(e.cfg.Core) == 0 {
		return errors.New("flow: no realms")
	}
	if err := e.setCertificate(e.cfg.Certificate); err != nil {
		return err
	}
	for _, r := range e.cfg.Core {
		realm, err := newCoreRealm(r, e.cfg.Timers.Quarantine)
		if err != nil {
			return err
		}
		if e.cores[r.Name] != nil {
			return fmt.Errorf("flow: realm %q twice", r.Name)
		}
		e.cores[r.Name] = realm
	}
	for i := range e.cfg.Workers {
		w, err := newWorker(&e.cfg, e.base, e.cfg.Logger)
		if err != nil {
			return err
		}
		e.workers = append(e.workers, w)
		for _, r := range e.cfg.Access {
			if err := e.openAccess(w, r, i); err != nil {
				return err
			}
		}
	}
	for _, r := range e.cfg.Access {
		if r.TCP == 0 {
			continue
		}
		if err := e.listenTCP(r); err != nil {
			return fmt.Errorf("flow: realm %q: %w", r.Name, err)
		}
	}
	return nil
}

// openAccess opens the port of worker w, the i-th, in realm r.
func (e *Engine) openAccess(w *worker, r AccessRealm, i int) error {
	for _, as := range w.access {
		if as.realm == r.Name {
			return fmt.Errorf("flow: realm %q twice", r.Name)
		}
	}
	port := 0
	if r.Port != 0 {
		port = int(r.Port) + i
	}
	if port > 65535 || !r.Listen.IsValid() {
		return fmt.Errorf("flow: realm %q: no port for worker %d", r.Name, i)
	}
	s, err := udpio.Open(netip.AddrPortFrom(r.Listen, uint16(port)), udpio.Options{ReceiveBuffer: accessBuffer, SendBuffer: accessBuffer})
	if err != nil {
		return fmt.Errorf("flow: realm %q: %w", r.Name, err)
	}
	advertise := r.Advertise
	if !advertise.IsValid() {
		advertise = r.Listen
	}
	as := &accessSock{
		component: 1, realm: r.Name, sock: s, paths: make(map[netip.AddrPort]*path), w: w, pool: &e.pool, streams: make(map[netip.AddrPort]*stream),
	}
	as.mux = ice.NewMux(netip.AddrPortFrom(advertise.Unmap(), s.Local().Port()), as.sendControl, &e.pool)
	as.mux.UseClock(w.monotonic)
	w.access = append(w.access, as)
	if r.RTCP {
		if as.component2, err = e.openComponent2(w, r, i); err != nil {
			return err
		}
	}
	if _, err = w.watch(s, sockRef{access: as}); err != nil || !r.Second.IsValid() {
		return err
	}
	if r.Second.Unmap().Is6() == r.Listen.Unmap().Is6() {
		return fmt.Errorf("flow: realm %q: both addresses are of one family", r.Name)
	}
	if as.second, err = udpio.Open(netip.AddrPortFrom(r.Second, s.Local().Port()), udpio.Options{ReceiveBuffer: accessBuffer, SendBuffer: accessBuffer}); err != nil {
		return fmt.Errorf("flow: realm %q: %w", r.Name, err)
	}
	if advertise = r.SecondAdvertise; !advertise.IsValid() {
		advertise = r.Second
	}
	as.secondAddr = netip.AddrPortFrom(advertise.Unmap(), s.Local().Port())
	_, err = w.watch(as.second, sockRef{access: as, second: true})
	return err
}

// release closes what open has made; the workers do not run.
func (e *Engine) release() {
	for _, l := range e.listeners {
		l.Close()
	}
	for _, w := range e.workers {
		for len(w.streams) > 0 {
			w.endStream(w.streams[0])
		}
		for _, as := range w.access {
			_ = as.sock.Close()
			if as.second != nil {
				_ = as.second.Close()
			}
		}
		_ = w.poll.Close()
	}
}

// candidates are ours on the port: of each address family one of UDP, then one of TCP if there is a port for it.
func (as *accessSock) candidates() []Candidate {
	var out []Candidate
	addrs := []netip.AddrPort{as.mux.Advertise()}
	if as.second != nil {
		addrs = append(addrs, as.secondAddr)
	}
	for i, a := range addrs {
		out = append(out, Candidate{
			Component: as.component, Transport: "udp", Priority: ice.Priority - uint32(i)<<8 - (as.component - 1), Address: a.Addr().String(), Port: a.Port(), Type: "host",
		})
	}
	for i, a := range addrs {
		if as.tcp != 0 {
			out = append(out, Candidate{
				Component: 1, Transport: "tcp", Priority: tcpPriority - uint32(i)<<8, Address: a.Addr().String(), Port: as.tcp, Type: "host", TCPType: "passive",
			})
		}
	}
	for i := range out {
		out[i].Foundation = strconv.Itoa(i + 1)
	}
	return out
}
