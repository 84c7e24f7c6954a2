package policy

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// The types below are the parts of TS 29.514 §5.6 and TS 29.571 that an IMS call needs, named as there.

type appSessionContext struct {
	AscReqData  *reqData            `json:"ascReqData,omitempty"`
	AscRespData *respData           `json:"ascRespData,omitempty"`
	EvsNotif    *eventsNotification `json:"evsNotif,omitempty"`
}

// reqData is AppSessionContextReqData.
type reqData struct {
	AfAppID       string                    `json:"afAppId,omitempty"`
	AfChargID     string                    `json:"afChargId,omitempty"`
	AspID         string                    `json:"aspId,omitempty"`
	DNN           string                    `json:"dnn,omitempty"`
	EvSubsc       *eventsSubsc              `json:"evSubsc,omitempty"`
	MedComponents map[string]mediaComponent `json:"medComponents,omitempty"`
	IPDomain      string                    `json:"ipDomain,omitempty"`
	MPSID         string                    `json:"mpsId,omitempty"`
	ResPrio       string                    `json:"resPrio,omitempty"`
	ServInfStatus string                    `json:"servInfStatus,omitempty"`
	NotifURI      string                    `json:"notifUri"`
	ServURN       string                    `json:"servUrn,omitempty"`
	SliceInfo     *snssai                   `json:"sliceInfo,omitempty"`
	SUPI          string                    `json:"supi,omitempty"`
	GPSI          string                    `json:"gpsi,omitempty"`
	SuppFeat      string                    `json:"suppFeat"`
	UEIPv4        string                    `json:"ueIpv4,omitempty"`
	UEIPv6        string                    `json:"ueIpv6,omitempty"`
}

// patchData is AppSessionContextUpdateDataPatch, a merge patch (RFC 7396) of the resource.
type patchData struct {
	AscReqData updateData `json:"ascReqData"`
}

// updateData is AppSessionContextUpdateData.
type updateData struct {
	MedComponents map[string]mediaComponentRm `json:"medComponents,omitempty"`
	MPSID         string                      `json:"mpsId,omitempty"`
	ResPrio       string                      `json:"resPrio,omitempty"`
	ServInfStatus string                      `json:"servInfStatus,omitempty"`
	SIPForkInd    string                      `json:"sipForkInd,omitempty"`
}

type snssai struct {
	SST int    `json:"sst"`
	SD  string `json:"sd,omitempty"`
}

type eventsSubsc struct {
	Events   []eventSubscription `json:"events"`
	NotifURI string              `json:"notifUri,omitempty"`
	ReqAnis  []string            `json:"reqAnis,omitempty"`
}

type eventSubscription struct {
	Event       string `json:"event"`
	NotifMethod string `json:"notifMethod,omitempty"`
}

type mediaComponent struct {
	Codecs      []string                     `json:"codecs,omitempty"`
	FStatus     string                       `json:"fStatus,omitempty"`
	MarBwDl     bitRate                      `json:"marBwDl,omitempty"`
	MarBwUl     bitRate                      `json:"marBwUl,omitempty"`
	MedCompN    int                          `json:"medCompN"`
	MedSubComps map[string]mediaSubComponent `json:"medSubComps,omitempty"`
	MedType     string                       `json:"medType,omitempty"`
	RrBw        *bitRate                     `json:"rrBw,omitempty"`
	RsBw        *bitRate                     `json:"rsBw,omitempty"`
}

// mediaComponentRm is the form in a patch: what can go away is null rather than left out.
type mediaComponentRm struct {
	Codecs      []string                      `json:"codecs,omitempty"`
	FStatus     string                        `json:"fStatus,omitempty"`
	MarBwDl     *bitRate                      `json:"marBwDl"`
	MarBwUl     *bitRate                      `json:"marBwUl"`
	MedCompN    int                           `json:"medCompN"`
	MedSubComps map[string]*mediaSubComponent `json:"medSubComps,omitempty"`
	MedType     string                        `json:"medType,omitempty"`
	RrBw        *bitRate                      `json:"rrBw"`
	RsBw        *bitRate                      `json:"rsBw"`
}

type mediaSubComponent struct {
	FNum      int      `json:"fNum"`
	FDescs    []string `json:"fDescs,omitempty"`
	FStatus   string   `json:"fStatus,omitempty"`
	FlowUsage string   `json:"flowUsage,omitempty"`
}

type respData struct {
	SuppFeat string `json:"suppFeat"`
}

// bitRate is a rate in bit/s, written as TS 29.571 §5.5.2 has it: "64 Kbps".
type bitRate uint64

var rateUnits = []struct {
	name string
	unit uint64
}{{"Tbps", 1e12}, {"Gbps", 1e9}, {"Mbps", 1e6}, {"Kbps", 1e3}, {"bps", 1}}

// MarshalJSON writes the rate without loss.
func (b bitRate) MarshalJSON() ([]byte, error) {
	for _, u := range rateUnits {
		if b > 0 && uint64(b)%u.unit == 0 {
			return fmt.Appendf(nil, `"%d %s"`, uint64(b)/u.unit, u.name), nil
		}
	}
	return fmt.Appendf(nil, `"%d bps"`, uint64(b)), nil
}

// UnmarshalJSON reads a rate, fractions included.
func (b *bitRate) UnmarshalJSON(text []byte) error {
	var s string
	if err := json.Unmarshal(text, &s); err != nil {
		return err
	}
	number, unit, ok := strings.Cut(s, " ")
	v, err := strconv.ParseFloat(number, 64)
	if !ok || err != nil || strings.Trim(number, "0123456789.") != "" {
		return fmt.Errorf("no bit rate: %.40q", s)
	}
	for _, u := range rateUnits {
		if u.name == unit {
			if v *= float64(u.unit); v >= 1<<63 {
				return fmt.Errorf("bit rate too high: %.40q", s)
			}
			*b = bitRate(v + 0.5)
			return nil
		}
	}
	return fmt.Errorf("no unit of a bit rate: %.40q", s)
}

// problemDetails is ExtendedProblemDetails (RFC 9457, TS 29.514 §5.6.2.29).
type problemDetails struct {
	Status             int    `json:"status"`
	Title              string `json:"title"`
	Detail             string `json:"detail"`
	Cause              string `json:"cause"`
	AcceptableServInfo *struct {
		AccBwMedComps map[string]struct {
			MedCompN int     `json:"medCompN"`
			MarBwDl  bitRate `json:"marBwDl"`
			MarBwUl  bitRate `json:"marBwUl"`
		} `json:"accBwMedComps"`
		MarBwUl bitRate `json:"marBwUl"`
		MarBwDl bitRate `json:"marBwDl"`
	} `json:"acceptableServInfo"`
}

// acceptable returns what the policy function would authorise; nil when it says nothing usable.
func (p *problemDetails) acceptable() *Acceptable {
	in := p.AcceptableServInfo
	if in == nil || len(in.AccBwMedComps) == 0 && in.MarBwDl == 0 && in.MarBwUl == 0 {
		return nil
	}
	a := &Acceptable{Up: uint64(in.MarBwUl), Down: uint64(in.MarBwDl), Media: map[int]Bandwidth{}}
	for _, c := range in.AccBwMedComps {
		a.Media[c.MedCompN] = Bandwidth{Up: uint64(c.MarBwUl), Down: uint64(c.MarBwDl)}
	}
	return a
}
