package cdr

import (
	"errors"
	"fmt"
	"math"
	"time"

	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// Type of a record (TS 32.260 §5.2.1: the accounting request that it stands for).
type Type string

// The types.
const (
	Start   Type = "start"   // the call was answered
	Interim Type = "interim" // its media changed
	Stop    Type = "stop"    // it ended
	Event   Type = "event"   // a call that was not answered, or a request outside calls
)

// closes reports whether nothing follows in the call.
func (t Type) closes() bool { return t == Stop || t == Event }

// RoleOfNode is what this node is in IMS charging (TS 32.299 §7.2.180).
const RoleOfNode = "P-CSCF"

// Record is one call data record (TS 32.260 §6.1.3, CDR of the P-CSCF). Times are UTC; zero values are left out of the line.
type Record struct {
	ID       string    `json:"id"` // Call and Seq; filled by Put
	Call     string    `json:"call"`
	Seq      uint32    `json:"seq"` // from 1, ascending in the call
	Type     Type      `json:"type"`
	Time     time.Time `json:"time"` // of the event that it tells; zero: filled by Put
	Role     string    `json:"role_of_node"`
	Instance string    `json:"instance"` // writer

	ICID        string `json:"icid,omitempty"`
	ICIDNode    string `json:"icid_generated_at,omitempty"`
	OrigIOI     string `json:"orig_ioi,omitempty"`
	TermIOI     string `json:"term_ioi,omitempty"`
	Method      string `json:"method,omitempty"`     // SIP method that began it
	Direction   string `json:"direction,omitempty"`  // "originating" or "terminating", as the browser sees it
	SessionID   string `json:"session_id,omitempty"` // RFC 7989
	AccessID    string `json:"call_id_access,omitempty"`
	CoreID      string `json:"call_id_core,omitempty"`
	Calling     string `json:"calling,omitempty"`   // asserted identity, else From
	Called      string `json:"called,omitempty"`    // To or asserted identity of the callee
	Requested   string `json:"requested,omitempty"` // Request-URI as received
	UserAddress string `json:"user_address,omitempty"`
	AccessInfo  string `json:"access_network_info,omitempty"` // P-Access-Network-Info
	Emergency   bool   `json:"emergency,omitempty"`

	Request    time.Time `json:"service_request,omitzero"`        // the INVITE came
	Begin      time.Time `json:"service_delivery_start,omitzero"` // its 2xx
	End        time.Time `json:"service_delivery_end,omitzero"`   // the BYE, or what ended it
	DurationMS int64     `json:"duration_ms,omitempty"`           // Begin to End

	Status    int    `json:"status,omitempty"` // final SIP status of the beginning request
	Cause     string `json:"cause,omitempty"`  // why it ended, in a word
	CauseCode int    `json:"cause_code"`       // TS 32.299 §7.2.35; see CauseCode
	Reason    string `json:"reason,omitempty"` // Reason header field, or our own words

	AccessCodec string   `json:"access_codec,omitempty"`
	CoreCodec   string   `json:"core_codec,omitempty"`
	MediaPath   string   `json:"media_path,omitempty"`        // "relayed" or "transcoded"
	PathReason  string   `json:"media_path_reason,omitempty"` // why, for people
	Impaired    int      `json:"impaired,omitempty"`          // times that the quality of a direction fell below media.quality_limit; of a Stop
	MGW         string   `json:"mgw,omitempty"`
	Context     string   `json:"context,omitempty"`
	Media       []Media  `json:"media,omitempty"`   // since the record before
	Streams     []Stream `json:"streams,omitempty"` // of a Stop
}

// Media is one description that was negotiated (SDP-Media-Component, TS 32.299 §7.2.197).
type Media struct {
	Time  time.Time `json:"time"`
	From  string    `json:"from"` // "access" or "core": who described
	Kind  string    `json:"kind"` // "offer" or "answer"
	Lines []Line    `json:"lines"`
}

// Line is one media line.
type Line struct {
	Number    int      `json:"number"` // from 1
	Type      string   `json:"type"`   // "audio", ...
	Refused   bool     `json:"refused,omitempty"`
	Direction string   `json:"direction,omitempty"`
	Codecs    []string `json:"codecs,omitempty"`     // in order of preference, e.g. "opus/48000/2"
	Bandwidth int      `json:"bandwidth,omitempty"`  // b=AS, kbit/s
	Peer      string   `json:"peer,omitempty"`       // address and port of the describing side's media
	Local     string   `json:"local_addr,omitempty"` // ours
}

// Stream is what one media line of one side carried.
type Stream struct {
	Side            string            `json:"side"` // "access" or "core"
	Number          int               `json:"number"`
	CodecReceived   string            `json:"codec_received,omitempty"`
	CodecSent       string            `json:"codec_sent,omitempty"`
	PacketsReceived uint64            `json:"packets_received"`
	PacketsSent     uint64            `json:"packets_sent"`
	OctetsReceived  uint64            `json:"octets_received"`
	OctetsSent      uint64            `json:"octets_sent"`
	PacketsLost     uint64            `json:"packets_lost"`
	RemoteLoss      float64           `json:"remote_loss,omitempty"` // share of what we sent, 0 to 1
	JitterMS        float64           `json:"jitter_ms"`
	RoundTripMS     float64           `json:"round_trip_ms,omitempty"`
	MOS             float64           `json:"mos,omitempty"`        // of what this side sent, as it arrived here, estimated (G.107), 1 to 4.5; 0: not known
	RemoteMOS       float64           `json:"remote_mos,omitempty"` // of what this side heard, by its reports
	Transcoded      bool              `json:"transcoded,omitempty"`
	Concealed       uint64            `json:"frames_concealed,omitempty"`
	Recovered       uint64            `json:"frames_recovered,omitempty"`
	Late            uint64            `json:"packets_late,omitempty"`
	Dropped         map[string]uint64 `json:"dropped,omitempty"` // by reason
	DurationMS      int64             `json:"duration_ms,omitempty"`
}

// StreamOf turns a media gateway's statistics of one side into a Stream.
func StreamOf(side string, s *iqv1.Statistics) Stream {
	return Stream{
		Side: side, Number: int(s.GetStreamId()), CodecReceived: s.GetCodecReceived(), CodecSent: s.GetCodecSent(),
		PacketsReceived: s.GetPacketsReceived(), PacketsSent: s.GetPacketsSent(), OctetsReceived: s.GetOctetsReceived(), OctetsSent: s.GetOctetsSent(),
		PacketsLost: s.GetPacketsLost(), RemoteLoss: float64(s.GetRemoteLossPermille()) / 1000, JitterMS: float64(s.GetJitterUs()) / 1000,
		RoundTripMS: float64(s.GetRttUs()) / 1000,
		MOS:         float64(s.GetMosCenti()) / 100, RemoteMOS: float64(s.GetRemoteMosCenti()) / 100, Transcoded: s.GetTranscoding(), Concealed: s.GetFramesConcealed(), Recovered: s.GetFramesRecovered(),
		Late: s.GetPacketsLate(), Dropped: s.GetDropped(), DurationMS: s.GetDuration().AsDuration().Milliseconds(),
	}
}

// ErrRecord is the error of a record without call, number or known type.
var ErrRecord = errors.New("cdr: incomplete record")

// check refuses what has no name or no type.
func (r *Record) check() error {
	switch {
	case r.Call == "" || len(r.Call) > 256:
		return fmt.Errorf("%w: call key of %d bytes", ErrRecord, len(r.Call))
	case r.Seq == 0:
		return fmt.Errorf("%w: no number", ErrRecord)
	case r.Type != Start && r.Type != Interim && r.Type != Stop && r.Type != Event:
		return fmt.Errorf("%w: type %.20q", ErrRecord, r.Type)
	}
	return nil
}

// finite drops figures that are none: JSON has no word for them, and a record is worth more than a figure.
func (r *Record) finite() {
	for i := range r.Streams {
		s := &r.Streams[i]
		for _, f := range []*float64{&s.RemoteLoss, &s.JitterMS, &s.RoundTripMS, &s.MOS, &s.RemoteMOS} {
			if math.IsNaN(*f) || math.IsInf(*f, 0) {
				*f = 0
			}
		}
	}
}

// name is the record's ID.
func (r *Record) name() string { return fmt.Sprintf("%s.%d", r.Call, r.Seq) }

// CauseCode is the cause of TS 32.299 §7.2.35: 0 normal end of an answered call, -1 a request outside calls that succeeded, -3xx to -6xx
// the final status of what failed, 1 an answered call that did not end by either user.
func CauseCode(answered, byUser bool, status int) int {
	switch {
	case answered && byUser:
		return 0
	case answered:
		return 1
	case status >= 300 && status <= 699:
		return -status
	case status >= 200 && status < 300:
		return -1
	}
	return 2 // unsuccessful session setup
}

// Progress counts a call's records. It is a value for the call's own record; the zero value is a call that has none.
type Progress struct {
	Seq     uint32 `json:"seq,omitempty"`
	Started bool   `json:"started,omitempty"`
	Closed  bool   `json:"closed,omitempty"`
}

// Answered takes the record of the answer; false: it was taken.
func (p *Progress) Answered() (Type, uint32, bool) {
	if p.Started || p.Closed {
		return "", 0, false
	}
	p.Started = true
	return p.take(Start)
}

// Changed takes the record of changed media; false: the call has not begun, or has ended.
func (p *Progress) Changed() (Type, uint32, bool) {
	if !p.Started || p.Closed {
		return "", 0, false
	}
	return p.take(Interim)
}

// Ended takes the last record, whatever ended the call: Stop after Start, else Event. False: it was taken.
func (p *Progress) Ended() (Type, uint32, bool) {
	if p.Closed {
		return "", 0, false
	}
	p.Closed = true
	if p.Started {
		return p.take(Stop)
	}
	return p.take(Event)
}

func (p *Progress) take(t Type) (Type, uint32, bool) {
	p.Seq++
	return t, p.Seq, true
}
