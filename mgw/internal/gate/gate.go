// Package gate decides whether a packet may pass: direction, source, rate. Floor 1. // hot
// Owner: the worker of the termination; nothing here is safe for concurrent use. H.248.43, H.248.53, H.248.37, TS 29.334 §5.2.
package gate

// Reason says why a packet was refused.
type Reason uint8

// Reasons. Pass is no refusal.
const (
	Pass            Reason = iota
	Malformed              // not a valid packet of its protocol
	Source                 // from an address that may not send here
	Unauthenticated        // SRTP authentication failed, or there are no keys yet
	Replay                 // authenticated before
	Mode                   // the termination's or its partner's mode forbids the direction
	PayloadType            // not among the types that the peer may send, or nothing to turn it into
	Policed                // over the agreed rate
	Duplicate              // seen before on plain RTP, or too late to be forwarded
	NoPartner              // no flow leads anywhere
	NoRemote               // the partner's address or keys are not known yet
	Consent                // the partner's consent to receive has expired (RFC 7675 §5.1)
	Congested              // the kernel did not take it
	Displaced              // a signal is played to the partner's peer meanwhile
	Stream                 // of no stream of the transport, as far as its MID, SSRC and payload type tell (RFC 9143 §9.2)
	Reasons                // number of reasons
)

var names = [Reasons]string{"pass", "malformed", "source", "unauthenticated", "replay", "mode", "payload_type", "policed", "duplicate",
	"no_partner", "no_remote", "consent", "congested", "signal", "stream"}

// String is the name in statistics.
func (r Reason) String() string {
	if r < Reasons {
		return names[r]
	}
	return "unknown"
}

// Drops counts refusals by reason.
type Drops [Reasons]uint64

// Count adds one refusal.
func (d *Drops) Count(r Reason) { d[r]++ }

// Map is the counters that are not zero, by name; nil when all are.
func (d *Drops) Map() map[string]uint64 {
	var m map[string]uint64
	for r, n := range d {
		if n == 0 || Reason(r) == Pass {
			continue
		}
		if m == nil {
			m = make(map[string]uint64)
		}
		m[names[r]] = n
	}
	return m
}
