package rtcp

import (
	"errors"
	"fmt"
	"math"
	"time"
	"unsafe"

	"github.com/isthmus-gateway/isthmus/mgw/internal/prefetch"
	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
)

// ErrConfig tells that a Config cannot work.
var ErrConfig = errors.New("rtcp: bad configuration")

// Never is what Due says when no report is to be sent.
const Never = math.MaxInt64

const (
	maxCNAME        = 255 // RFC 3550 §6.5: one length byte
	defaultInterval = 5 * time.Second
	// compensation corrects the reconsideration algorithm's convergence below the mean, e-3/2 (RFC 3550 §A.7).
	compensation = 1.21828
	maxRTT       = int64(30 * time.Second) // beyond it a report is nonsense
)

// Config is the identity of a leg's own stream and its report schedule.
type Config struct {
	SSRC       uint32
	CNAME      string        // 1..255 bytes, random per leg so that legs cannot be correlated (RFC 7022 §4.2)
	OutClock   uint32        // RTP clock of what we send, Hz
	InClock    uint32        // RTP clock of what we receive, Hz
	WallOffset int64         // Unix time in ns at monotonic time 0
	Interval   time.Duration // mean time between reports; default 5 s, the minimum of RFC 3550 §6.2 that always governs two-party audio
	Seed       uint64        // of the randomised schedule
	Off        bool          // send nothing (b=RS:0 and b=RR:0, RFC 3556 §2)
	Reduced    bool          // accept reduced-size RTCP (RFC 5506)
}

// Statistics of one leg since New.
type Statistics struct {
	PacketsSent     uint64
	OctetsSent      uint64 // payload only (RFC 3550 §6.4.1)
	PacketsReceived uint64
	OctetsReceived  uint64
	PacketsLost     uint64        // of the incoming stream, all sources
	Jitter          time.Duration // of the incoming stream
	RTT             time.Duration // 0: not known
	Reported        bool          // the peer has reported on our stream
	RemoteLost      int32         // of our stream, by the last report
	RemoteFraction  uint8         // since the report before it, of 256
	RemoteJitter    time.Duration
	ReportsSent     uint64
	ReportsReceived uint64 // about our stream or its source
	Refused         uint64 // datagrams that did not parse

	Measured bool // the peer has told VoIP metrics of our stream
	VoIP     VoIP // the newest
}

// Leg is the RTCP state of one peer. Use New.
type Leg struct {
	out struct {
		packets, octets uint64
		reported        [2]uint64 // packets at the last reports: silence for two makes an RR (RFC 3550 §6.4)
	}
	in        receiver
	cfg       Config
	lsr       uint32 // of the peer's last sender report
	lsrAt     int64  // when it came, ns
	peer      Block
	rtt       int64 // ns
	xr        extended
	due       int64 // ns
	bandwidth Bandwidth
	size      float64 // mean of what we have sent, bytes with UDP and IP headers (RFC 3550 §6.3); 0: nothing yet
	rng       uint64
	stats     Statistics
	shared    bool
	mid       string // of our stream; "": not told
}

// New returns the state of a leg whose first report is due about half an interval after now (RFC 3550 §6.2). Errors: ErrConfig.
func New(now int64, cfg Config) (*Leg, error) {
	if len(cfg.CNAME) == 0 || len(cfg.CNAME) > maxCNAME {
		return nil, fmt.Errorf("%w: CNAME of %d bytes", ErrConfig, len(cfg.CNAME))
	}
	if cfg.InClock == 0 || cfg.OutClock == 0 {
		return nil, fmt.Errorf("%w: no clock rate", ErrConfig)
	}
	if cfg.Interval <= 0 {
		cfg.Interval = defaultInterval
	}
	l := &Leg{cfg: cfg, rng: cfg.Seed, due: Never}
	if !cfg.Off {
		l.due = now + l.wait(int64(cfg.Interval)/2)
	}
	return l, nil
}

// SetClocks follows a codec change, Hz; 0 keeps the value. The jitter estimate carries over in time.
func (l *Leg) SetClocks(in, out uint32) {
	if in != 0 && in != l.cfg.InClock {
		l.in.jitter = uint32(uint64(l.in.jitter) * uint64(in) / uint64(l.cfg.InClock))
		l.in.timed = false
		l.cfg.InClock = in
	}
	if out != 0 {
		l.cfg.OutClock = out
	}
}

// Share tells that other streams of the peer come over the same transport, and their reports too (RFC 8108): of those only what is about ours and its
// source is taken.
func (l *Leg) Share() { l.shared = true }

// Source is the source of the newest packet that Received has taken; false: there was none.
func (l *Leg) Source() (ssrc uint32, known bool) { return l.in.ssrc, l.in.known }

// Sent counts a packet that went out. payload: bytes without header.
func (l *Leg) Sent(payload int) {
	l.out.packets++
	l.out.octets += uint64(payload)
}

// Received counts a packet that came in at now. It reports whether a source begins with it; SetDiscarded then has to be called.
func (l *Leg) Received(now int64, a Arrival) (began bool) {
	return l.in.arrive(rtp.Ticks(now, l.cfg.InClock), a)
}

// Handle reads a plaintext RTCP datagram of the peer that arrived at now. It returns what Parse returns; on an error nothing changes
// but the counter Refused.
func (l *Leg) Handle(now int64, b []byte) (Info, error) {
	info := Info{among: l.shared, source: l.in.ssrc}
	if err := Parse(b, l.cfg.SSRC, l.cfg.Reduced, &info); err != nil {
		l.stats.Refused++
		return Info{}, err
	}
	if !info.Others {
		l.stats.ReportsReceived++
	}
	if info.SR {
		l.lsr, l.lsrAt = uint32(info.NTP>>16), now
	}
	if info.Reported {
		l.peer = info.Block
		l.measureRTT(now, info.Block.LSR, info.Block.DLSR)
	}
	l.xr.take(now, &info)
	if l.xr.reference {
		l.measureRTT(now, info.LRR, info.DLRR)
	}
	return info, nil
}

// measureRTT is RFC 3550 §6.4.1 and RFC 3611 §4.5: arrival minus the time of our last report, minus its delay at the peer. last 0: none.
func (l *Leg) measureRTT(now int64, last, delay uint32) {
	if last == 0 {
		return
	}
	units := int64(int32(uint32(l.ntp(now)>>16) - last - delay))
	rtt := units * int64(time.Second) >> 16
	if rtt < 0 || rtt > maxRTT {
		return
	}
	l.rtt = max(rtt, int64(time.Microsecond))
}

// ntp is now as NTP time, 32.32 s since 1900 (RFC 3550 §4).
func (l *Leg) ntp(now int64) uint64 {
	const toUnix = 2208988800 // s from 1900 to 1970
	t := uint64(l.cfg.WallOffset + now)
	sec, ns := t/uint64(time.Second), t%uint64(time.Second)
	return (sec+toUnix)<<32 | ns<<32/uint64(time.Second)
}

// RemoteLoss is how many percent of our packets the peer lost between its last two reports; for Direction.SetLoss.
func (l *Leg) RemoteLoss() int { return (int(l.peer.Fraction)*100 + 255) >> 8 }

// Statistics are the figures so far.
func (l *Leg) Statistics() Statistics {
	s := l.stats
	s.PacketsSent, s.OctetsSent = l.out.packets, l.out.octets
	s.PacketsReceived, s.OctetsReceived = l.in.packets, l.in.octets
	s.PacketsLost = uint64(l.in.lostOld + max(0, l.in.expected()-l.in.got))
	s.Jitter = time.Duration(rtp.Nanos(int64(l.in.jitter>>4), l.cfg.InClock))
	s.RTT = time.Duration(l.rtt)
	s.Reported = l.peer != Block{}
	s.RemoteLost, s.RemoteFraction = l.peer.Lost, l.peer.Fraction
	s.Measured, s.VoIP = l.xr.told, l.xr.peer
	s.RemoteJitter = time.Duration(rtp.Nanos(int64(l.peer.Jitter), l.cfg.OutClock))
	return s
}

// Due is when Build wants to be called, monotonic ns; Never when reports are off.
func (l *Leg) Due() int64 { return l.due }

// wait is a mean interval randomised to 0.5..1.5 of itself (RFC 3550 §6.3.1).
func (l *Leg) wait(mean int64) int64 {
	// SplitMix64: a schedule needs no secrecy.
	l.rng += 0x9e3779b97f4a7c15
	z := l.rng
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	z ^= z >> 31
	f := 0.5 + float64(z>>11)/(1<<53)
	return int64(float64(mean) * f / compensation)
}

// FetchReceived asks the processor for what Received touches.
func (l *Leg) FetchReceived() {
	if l != nil {
		prefetch.Of(&l.in, unsafe.Sizeof(l.in))
		prefetch.Of(&l.cfg.InClock, 4)
	}
}

// FetchDue asks the processor for what Due touches.
func (l *Leg) FetchDue() {
	if l != nil {
		prefetch.Of(&l.due, 8)
	}
}

// FetchSent asks the processor for what Sent touches.
func (l *Leg) FetchSent() {
	if l != nil {
		prefetch.Of(&l.out, 16)
	}
}
