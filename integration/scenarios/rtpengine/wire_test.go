package rtpengine

import (
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"github.com/pion/rtp"
)

// wire passes RTP between the gateway and rtpengine and looks at it on the way: each of them is told one of its sockets for the other.
type wire struct {
	ends [2]*net.UDPConn // where toPhone and toGateway arrive
	wg   sync.WaitGroup

	mu   sync.Mutex // guards what follows
	peer [2]netip.AddrPort
	seen [2]traffic
}

// way is a direction on the wire.
type way int

const (
	toPhone   way = iota // from the gateway
	toGateway            // from rtpengine
)

// traffic is what went one way.
type traffic struct {
	judge    func(*rtp.Packet) string // of audio: what is wrong with it; nil: nothing is looked at
	events   uint8                    // payload type of telephone-event; 0: none
	audio    int                      // packets
	noise    int                      // packets of static comfort noise (RFC 3551 table 4)
	faults   []string                 // of audio, the first of them
	modes    map[int]int              // frames of AMR by type
	requests map[int]int              // mode requests in them
}

func newWire(t *testing.T) *wire {
	t.Helper()
	w := &wire{}
	for i := range w.ends {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		w.ends[i], w.seen[i] = c, traffic{modes: map[int]int{}, requests: map[int]int{}}
	}
	for d := range w.ends {
		w.wg.Go(func() { w.pass(way(d)) })
	}
	t.Cleanup(func() {
		for _, c := range w.ends {
			_ = c.Close() // its reader ends by it
		}
		w.wg.Wait()
	})
	return w
}

func (w *wire) pass(d way) {
	buf := make([]byte, 2048)
	for {
		n, err := w.ends[d].Read(buf)
		if err != nil {
			return
		}
		var p rtp.Packet
		w.mu.Lock()
		to, t := w.peer[d], &w.seen[d]
		if p.Unmarshal(buf[:n]) == nil && (t.events == 0 || p.PayloadType != t.events) {
			if p.PayloadType == 13 {
				t.noise++
			} else {
				t.audio++
			}
			if t.judge != nil {
				if fault := t.judge(&p); fault != "" && len(t.faults) < 5 {
					t.faults = append(t.faults, fault)
				}
			}
		}
		w.mu.Unlock()
		if to.IsValid() {
			_, _ = w.ends[1-d].WriteToUDPAddrPort(buf[:n], to) // as UDP: it may not arrive
		}
	}
}

// reroute takes the address at which one of them wants what goes the way, and returns the one to tell the other instead.
func (w *wire) reroute(d way, at netip.AddrPort) netip.AddrPort {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.peer[d] = at
	return w.ends[d].LocalAddr().(*net.UDPAddr).AddrPort()
}

// expect sets how audio that goes the way is judged.
func (w *wire) expect(d way, events uint8, judge func(*rtp.Packet) string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen[d].judge, w.seen[d].events = judge, events
}

// count notes a frame of AMR. The judge calls it: mu is held.
func (w *wire) count(d way, f frame) {
	w.seen[d].modes[f.kind]++
	w.seen[d].requests[f.request]++
}

// went returns what went the way so far.
func (w *wire) went(d way) traffic {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.seen[d]
	t.faults, t.modes, t.requests = slices.Clone(t.faults), maps.Clone(t.modes), maps.Clone(t.requests)
	return t
}
