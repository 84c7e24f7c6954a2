package rtpua

import (
	"net/netip"
	"time"

	"github.com/pion/rtcp"
)

// Control is what RTCP told.
type Control struct {
	Sent         uint64        `json:"sent"`          // compound packets
	Received     uint64        `json:"received"`      // compound packets
	Invalid      uint64        `json:"invalid"`       // not parsable
	Goodbyes     uint64        `json:"goodbyes"`      // BYE packets received
	RemoteCNAME  string        `json:"remote_cname"`  // newest, empty if none
	RemoteLost   int64         `json:"remote_lost"`   // cumulative loss the peer reports of our stream
	FractionLost uint8         `json:"fraction_lost"` // newest, in 1/256
	RoundTrip    time.Duration `json:"round_trip_ns"` // from the peer's newest report, 0 if unknown
}

// rtcpState is guarded by the Endpoint's lock.
type rtcpState struct {
	stats      Control
	lastSR     uint32 // middle 32 bits of the peer's newest NTP time
	lastSRTime time.Time
	lostPrior  uint64 // for the fraction lost
	expPrior   uint32
}

// Stats is a snapshot of an Endpoint.
type Stats struct {
	SentPackets uint32  `json:"sent_packets"`
	SentOctets  uint32  `json:"sent_octets"`
	SendErrors  uint64  `json:"send_errors"`
	LocalSSRC   uint32  `json:"local_ssrc"`
	Recv        Receive `json:"recv"`
	RTCP        Control `json:"rtcp"`
}

// Stats returns a snapshot.
func (e *Endpoint) Stats() Stats {
	e.mu.Lock()
	defer e.mu.Unlock()
	return Stats{
		SentPackets: e.send.packets, SentOctets: e.send.octets, SendErrors: e.send.errors,
		LocalSSRC: e.send.ssrc, Recv: e.recv.stats, RTCP: e.rtcpState.stats,
	}
}

// rtcpLoop reads reports and sends ours, the first after half an interval (RFC 3550 §6.2).
func (e *Endpoint) rtcpLoop() {
	defer e.wg.Done()
	buf := make([]byte, 2048)
	due := time.Now().Add(e.cfg.RTCPInterval / 2)
	for {
		e.rtcp.SetReadDeadline(due)
		n, src, err := e.rtcp.ReadFromUDPAddrPort(buf)
		if closed(err) {
			return
		}
		if err == nil {
			e.takeRTCP(buf[:n], netip.AddrPortFrom(src.Addr().Unmap(), src.Port()), time.Now())
		}
		if now := time.Now(); !now.Before(due) {
			e.sendReport(now)
			due = now.Add(e.cfg.RTCPInterval)
		}
	}
}

func (e *Endpoint) takeRTCP(data []byte, src netip.AddrPort, now time.Time) {
	pkts, err := rtcp.Unmarshal(data)
	e.mu.Lock()
	defer e.mu.Unlock()
	s := &e.rtcpState
	if e.params.RemoteRTCP.IsValid() && src != e.params.RemoteRTCP {
		e.recv.stats.Strangers++
		return
	}
	if err != nil {
		s.stats.Invalid++
		return
	}
	s.stats.Received++
	for _, p := range pkts {
		switch p := p.(type) {
		case *rtcp.SenderReport:
			s.lastSR, s.lastSRTime = uint32(p.NTPTime>>16), now
			e.takeReportsLocked(p.Reports, now)
		case *rtcp.ReceiverReport:
			e.takeReportsLocked(p.Reports, now)
		case *rtcp.SourceDescription:
			for _, c := range p.Chunks {
				for _, it := range c.Items {
					if it.Type == rtcp.SDESCNAME {
						s.stats.RemoteCNAME = it.Text
					}
				}
			}
		case *rtcp.Goodbye:
			s.stats.Goodbyes++
		}
	}
}

func (e *Endpoint) takeReportsLocked(reports []rtcp.ReceptionReport, now time.Time) {
	for _, r := range reports {
		if r.SSRC != e.send.ssrc {
			continue
		}
		s := &e.rtcpState.stats
		s.RemoteLost, s.FractionLost = int64(r.TotalLost), r.FractionLost
		if r.LastSenderReport != 0 { // RFC 3550 §6.4.1
			ticks := uint32(ntp(now)>>16) - r.LastSenderReport - r.Delay
			if rtt := time.Duration(ticks) * time.Second >> 16; rtt < time.Minute {
				s.RoundTrip = rtt
			}
		}
	}
}

// ntp is the 64-bit NTP time (RFC 3550 §4).
func ntp(t time.Time) uint64 {
	const unixEpoch = 2208988800
	return uint64(t.Unix()+unixEpoch)<<32 | uint64(t.Nanosecond())<<32/1e9
}

func (e *Endpoint) sendReport(now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.writeRTCPLocked([]rtcp.Packet{e.reportLocked(now), e.describeLocked()})
}

func (e *Endpoint) sendGoodbye() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.send.packets == 0 {
		return // RFC 3550 §6.3.7: who never spoke says no BYE
	}
	e.writeRTCPLocked([]rtcp.Packet{e.reportLocked(time.Now()), e.describeLocked(), &rtcp.Goodbye{Sources: []uint32{e.send.ssrc}}})
}

// writeRTCPLocked sends a compound packet; on hold too, which keeps NAT bindings and gates open.
func (e *Endpoint) writeRTCPLocked(pkts []rtcp.Packet) {
	if !e.params.RemoteRTCP.IsValid() {
		return
	}
	data, err := rtcp.Marshal(pkts)
	if err != nil {
		e.send.errors++
		return
	}
	if _, err := e.rtcp.WriteToUDPAddrPort(data, e.params.RemoteRTCP); err != nil {
		e.send.errors++
		return
	}
	e.rtcpState.stats.Sent++
}

func (e *Endpoint) describeLocked() rtcp.Packet {
	return rtcp.NewCNAMESourceDescription(e.send.ssrc, e.cfg.CNAME)
}

func (e *Endpoint) reportLocked(now time.Time) rtcp.Packet {
	var blocks []rtcp.ReceptionReport
	if e.recv.started {
		blocks = append(blocks, e.blockLocked(now))
	}
	if e.send.packets == 0 {
		return &rtcp.ReceiverReport{SSRC: e.send.ssrc, Reports: blocks}
	}
	return &rtcp.SenderReport{
		SSRC: e.send.ssrc, NTPTime: ntp(now), RTPTime: e.send.ts,
		PacketCount: e.send.packets, OctetCount: e.send.octets, Reports: blocks,
	}
}

func (e *Endpoint) blockLocked(now time.Time) rtcp.ReceptionReport {
	r, s := e.recv, &e.rtcpState
	expected := r.ext - r.base + 1
	var fraction uint8
	if d := expected - s.expPrior; d > 0 && r.stats.Lost > s.lostPrior && expected > s.expPrior {
		fraction = uint8(min(255, (r.stats.Lost-s.lostPrior)*256/uint64(d)))
	}
	s.expPrior, s.lostPrior = expected, r.stats.Lost
	b := rtcp.ReceptionReport{
		SSRC: r.stats.SSRC, FractionLost: fraction, TotalLost: uint32(min(r.stats.Lost, 0x7fffff)),
		LastSequenceNumber: r.ext, Jitter: r.stats.Jitter,
	}
	if s.lastSR != 0 {
		b.LastSenderReport = s.lastSR
		b.Delay = uint32(now.Sub(s.lastSRTime) * 65536 / time.Second)
	}
	return b
}
