package policy

import (
	"encoding/json"
	"fmt"
	"slices"
)

// Events of TS 29.514 §5.6.3.7.
const (
	eventAccessType = "ACCESS_TYPE_CHANGE"
	eventANI        = "ANI_REPORT"
	eventCharging   = "CHARGING_CORRELATION"
	eventFailed     = "FAILED_RESOURCES_ALLOCATION"
	eventCredit     = "OUT_OF_CREDIT"
	eventPLMN       = "PLMN_CHG"
	eventQoS        = "QOS_NOTIF"
	eventSuccess    = "SUCCESSFUL_RESOURCES_ALLOCATION"
)

// Kind says what happened, a word fit for a metric label.
type Kind string

// The kinds of event. The action is the reader's; the usual one is given.
const (
	ResourcesAllocated Kind = "resources_allocated" // the bearer is there, or recovered (preconditions are met)
	ResourcesFailed    Kind = "resources_failed"    // no bearer, or it is lost: release the media or the call (TS 24.229 §5.2.8)
	QoSLost            Kind = "qos_lost"            // the guaranteed rate is not reached now
	QoSBack            Kind = "qos_back"            // it is again
	OutOfCredit        Kind = "out_of_credit"       // Cause: TERMINATE, REDIRECT, RESTRICT_ACCESS
	AccessChanged      Kind = "access_changed"      // Access tells the new access
	LocationReported   Kind = "location_reported"   // Access tells the location, for P-Access-Network-Info
	ChargingReported   Kind = "charging_reported"   // Charging holds the access network's charging identifiers
	Terminated         Kind = "terminated"          // release the call, then Delete; Cause: ALL_SDF_DEACTIVATION, PDU_SESSION_TERMINATION, ...
)

// Event is something that the policy function reports of a call.
type Event struct {
	Call     string  // key of the call
	Resource string  // URI of the application session, for Delete when the call is not known
	Kind     Kind    //
	Media    []int   // numbers of the media lines concerned, ascending; nil: all
	Cause    string  // see Kind
	Access   *Access // nil: not told
	Charging []uint64
}

// Access describes the browser's access network as the policy function knows it.
type Access struct {
	Type     string          // "3GPP_ACCESS", "NON_3GPP_ACCESS"
	RAT      string          // "NR", "EUTRA", "WLAN", ...
	MCC, MNC string          // serving network
	Gateway  string          // address of an ePDG or the like
	TimeZone string          // "+08:00", "+02:00+1"
	Location json.RawMessage // UserLocation (TS 29.571 §5.4.4.7); ANI renders it
}

type eventsNotification struct {
	AccessType string `json:"accessType"`
	AnChargIds []struct {
		Value uint64 `json:"accNetChaIdValue"`
	} `json:"anChargIds"`
	AnGwAddr *struct {
		V4 string `json:"anGwIpv4Addr"`
		V6 string `json:"anGwIpv6Addr"`
	} `json:"anGwAddr"`
	EvSubsURI string `json:"evSubsUri"`
	EvNotifs  []struct {
		Event string  `json:"event"`
		Flows []flows `json:"flows"`
	} `json:"evNotifs"`
	FailedReports []allocation `json:"failedResourcAllocReports"`
	SuccReports   []allocation `json:"succResourcAllocReports"`
	CreditReports []struct {
		Action string  `json:"finUnitAct"`
		Flows  []flows `json:"flows"`
	} `json:"outOfCredReports"`
	PLMN *struct {
		MCC string `json:"mcc"`
		MNC string `json:"mnc"`
	} `json:"plmnId"`
	QoSReports []struct {
		Type  string  `json:"notifType"`
		Flows []flows `json:"flows"`
	} `json:"qncReports"`
	RATType  string          `json:"ratType"`
	Location json.RawMessage `json:"ueLoc"`
	TimeZone string          `json:"ueTimeZone"`
}

type flows struct {
	MedCompN int `json:"medCompN"`
}

type allocation struct {
	Flows []flows `json:"flows"`
}

type terminationInfo struct {
	TermCause string `json:"termCause"`
	ResURI    string `json:"resUri"`
}

// check names the required attribute that is missing; "" when none is.
func (n *eventsNotification) check() string {
	switch {
	case n.EvSubsURI == "":
		return "evSubsUri"
	case len(n.EvNotifs) == 0:
		return "evNotifs"
	}
	for i := range n.EvNotifs {
		if n.EvNotifs[i].Event == "" {
			return fmt.Sprintf("evNotifs/%d/event", i)
		}
	}
	return ""
}

// events lists what the notification says of call. Events that we do not know are left out: lists of events grow (TS 29.501 §5.2.5).
func (n *eventsNotification) events(call, resource string) []Event {
	var out []Event
	add := func(k Kind, fl []flows, cause string) {
		out = append(out, Event{Call: call, Resource: resource, Kind: k, Media: numbers(fl), Cause: cause})
	}
	for _, e := range n.EvNotifs {
		switch e.Event {
		case eventFailed:
			eachAllocation(n.FailedReports, e.Flows, func(fl []flows) { add(ResourcesFailed, fl, "") })
		case eventSuccess:
			eachAllocation(n.SuccReports, e.Flows, func(fl []flows) { add(ResourcesAllocated, fl, "") })
		case eventQoS:
			for _, r := range n.QoSReports {
				kind := QoSLost
				if r.Type == "GUARANTEED" {
					kind = QoSBack
				}
				add(kind, r.Flows, "")
			}
		case eventCredit:
			for _, r := range n.CreditReports {
				add(OutOfCredit, r.Flows, r.Action)
			}
		case eventAccessType, eventPLMN:
			add(AccessChanged, nil, "")
			out[len(out)-1].Access = n.access()
		case eventANI:
			add(LocationReported, nil, "")
			out[len(out)-1].Access = n.access()
		case eventCharging:
			add(ChargingReported, e.Flows, "")
			for _, id := range n.AnChargIds {
				out[len(out)-1].Charging = append(out[len(out)-1].Charging, id.Value)
			}
		}
	}
	return out
}

// eachAllocation calls f per report, or once for the event itself when it came without reports.
func eachAllocation(reports []allocation, fallback []flows, f func([]flows)) {
	if len(reports) == 0 {
		f(fallback)
	}
	for _, r := range reports {
		f(r.Flows)
	}
}

func (n *eventsNotification) access() *Access {
	a := &Access{Type: n.AccessType, RAT: n.RATType, TimeZone: n.TimeZone, Location: n.Location}
	if n.PLMN != nil {
		a.MCC, a.MNC = n.PLMN.MCC, n.PLMN.MNC
	}
	if n.AnGwAddr != nil {
		if a.Gateway = n.AnGwAddr.V4; a.Gateway == "" {
			a.Gateway = n.AnGwAddr.V6
		}
	}
	return a
}

func numbers(fl []flows) []int {
	var out []int
	for _, f := range fl {
		out = append(out, f.MedCompN)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
