package mgwpool

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/isthmus-gateway/isthmus/pkg/gwerr"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// State is the service state of an MGW (H.248.1 §7.2.8).
type State string

// Service states. Suspect is each instance's own view of a node that missed heartbeats or did not answer; it is not stored.
const (
	InService State = "in_service"
	Draining  State = "draining" // announced ServiceChange Graceful: no new contexts
	Suspect   State = "suspect"
)

// Node is the record of one MGW.
type Node struct {
	ID       string    `json:"id"`
	Boot     string    `json:"boot"`
	Address  string    `json:"addr"` // host:port of its MediaGateway service
	State    State     `json:"state"`
	DrainBy  time.Time `json:"drain_by,omitzero"` // end of a drain; zero: when the last context ends
	Software string    `json:"sw,omitempty"`
	Realms   []Realm   `json:"realms,omitempty"`
	Down     []string  `json:"down,omitempty"`   // realms that are not available, sorted (H.248.41)
	Codecs   []string  `json:"codecs,omitempty"` // transcodable, lower-case encoding names
	Features []string  `json:"features,omitempty"`
	Max      uint32    `json:"max,omitempty"` // most contexts; 0: no configured limit
	Load     Load      `json:"load"`
	Beats    uint64    `json:"beats"` // heartbeats taken since registration
	Via      string    `json:"via"`   // instance that took the last one
	Since    time.Time `json:"since"` // registration
}

// Realm is an IP realm of an MGW and the kind of termination it is for.
type Realm struct {
	Name string                          `json:"n"`
	Kind iqv1.TerminationDescriptor_Kind `json:"k"`
}

// Load is what an MGW reported last.
type Load struct {
	Contexts    uint32 `json:"cx"`
	CPUPermille uint32 `json:"cpu"` // of all cores
	PPS         uint64 `json:"pps"` // packets received per second
}

// Lost tells that all contexts of one boot of an MGW are gone.
type Lost struct {
	MGW, Boot string
	Realms    []string // not empty: only terminations in these realms are out of service, and contexts are still to be subtracted (TS 23.334 §6.1.15)
	Reason    string   // for people: "expired", "restarted", "forced out of service", "realm not available"
}

// hasRealm reports whether the node serves the realm for the kind, and whether it is available; name "" asks for any realm of the kind.
func (n *Node) hasRealm(name string, kind iqv1.TerminationDescriptor_Kind) (served, available bool) {
	for _, r := range n.Realms {
		if r.Kind == kind && (name == "" || r.Name == name) {
			served = true
			available = available || !slices.Contains(n.Down, r.Name)
		}
	}
	return served, available
}

// setDown notes which of the node's realms are not available; names that it has not are ignored.
func (n *Node) setDown(names []string) {
	down := []string(nil) // never in the array of an older record
	for _, r := range n.Realms {
		if slices.Contains(names, r.Name) {
			down = append(down, r.Name)
		}
	}
	slices.Sort(down)
	n.Down = slices.Compact(down)
}

// failed is the realms that are not available any more after a change of the record; of a new one, from nil, all that are not: it may be an old one
// that the store has lost meanwhile.
func failed(from, to *Node) []string {
	var out []string
	for _, r := range to.Down {
		if from == nil || !slices.Contains(from.Down, r) {
			out = append(out, r)
		}
	}
	return out
}

// room is how many more contexts the node takes, as it reported and pending, picks since then. The last 5 % are kept
// for emergency calls (TS 23.334 §5.14).
func (n *Node) room(pending uint32, emergency bool) int64 {
	if n.Max == 0 {
		return 1 << 31
	}
	limit := int64(n.Max)
	if !emergency {
		limit -= limit / 20
	}
	return limit - int64(n.Load.Contexts) - int64(pending)
}

// highPriority is the least priority of contexts that have a reserve beyond a node's limit.
const highPriority = 8

// reserve is how many more contexts of such a priority the node takes: a fortieth more than its limit, as it counts itself.
func (n *Node) reserve(pending uint32) int64 {
	return int64(n.Max) + int64(n.Max)/40 - int64(n.Load.Contexts) - int64(pending)
}

// score is the node's load for comparison, the greater of contexts and CPU, about 0 to 1.
func (n *Node) score(pending uint32) float64 {
	limit := float64(n.Max)
	if n.Max == 0 {
		limit = 2000
	}
	return max(float64(n.Load.Contexts+pending)/limit, float64(n.Load.CPUPermille)/1000)
}

// fromRequest makes the record of a registering MGW, or says what is wrong with the request.
func fromRequest(r *iqv1.ServiceChangeRequest, now time.Time) (Node, *iqv1.ErrorDescriptor) {
	if e := checkIdentity(r.GetMgwId(), r.GetBootId()); e != nil {
		return Node{}, e
	}
	if !validAddress(r.GetAddress()) {
		return Node{}, descriptor(gwerr.UnsupportedValue, "address %.80q is no host:port", r.GetAddress())
	}
	caps := r.GetCapabilities()
	if caps.GetProfileVersion() < 1 {
		return Node{}, descriptor(gwerr.UnsupportedValue, "profile_version %d: 1 is needed", caps.GetProfileVersion())
	}
	if len(caps.GetRealms()) == 0 || len(caps.GetRealms()) > 64 || len(caps.GetCodecs()) > 64 || len(caps.GetFeatures()) > 64 {
		return Node{}, descriptor(gwerr.UnsupportedValue, "capabilities: 1 to 64 realms, at most 64 codecs and features")
	}
	n := Node{ID: r.GetMgwId(), Boot: r.GetBootId(), Address: r.GetAddress(), State: InService, Since: now,
		Software: clip(caps.GetSoftware()), Max: caps.GetMaxContexts(), Load: Load{Contexts: r.GetLiveContexts()}}
	var down []string
	for _, realm := range caps.GetRealms() {
		n.Realms = append(n.Realms, Realm{Name: clip(realm.GetName()), Kind: realm.GetKind()})
		if realm.GetUnavailable() {
			down = append(down, clip(realm.GetName()))
		}
	}
	n.setDown(down)
	for _, c := range caps.GetCodecs() {
		n.Codecs = append(n.Codecs, strings.ToLower(clip(c.GetName())))
	}
	for _, f := range caps.GetFeatures() {
		n.Features = append(n.Features, clip(f))
	}
	return n, nil
}

func clip(s string) string { return s[:min(len(s), 128)] }

func checkIdentity(id, boot string) *iqv1.ErrorDescriptor {
	if !validID(id) {
		return descriptor(gwerr.IncorrectIdentifier, "mgw_id %.80q: 1 to 64 letters, digits, '.', '_' or '-'", id)
	}
	if !validID(boot) {
		return descriptor(gwerr.IncorrectIdentifier, "boot_id %.80q: 1 to 64 letters, digits, '.', '_' or '-'", boot)
	}
	return nil
}

func validID(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	return strings.IndexFunc(s, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-')
	}) < 0
}

func validAddress(s string) bool {
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" || len(s) > 260 {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}

func descriptor(code gwerr.Code, format string, args ...any) *iqv1.ErrorDescriptor {
	return &iqv1.ErrorDescriptor{Code: uint32(code), Text: fmt.Sprintf(format, args...)}
}
