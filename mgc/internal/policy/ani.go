package policy

import (
	"encoding/json"
	"regexp"
	"strings"
)

// userLocation holds the cell parts of UserLocation (TS 29.571 §5.4.4.7).
type userLocation struct {
	NR *struct {
		TAI  tai `json:"tai"`
		NCGI struct {
			PLMN plmn   `json:"plmnId"`
			Cell string `json:"nrCellId"`
		} `json:"ncgi"`
	} `json:"nrLocation"`
	EUTRA *struct {
		TAI  tai `json:"tai"`
		ECGI struct {
			PLMN plmn   `json:"plmnId"`
			Cell string `json:"eutraCellId"`
		} `json:"ecgi"`
	} `json:"eutraLocation"`
}

type plmn struct {
	MCC string `json:"mcc"`
	MNC string `json:"mnc"`
}

type tai struct {
	TAC string `json:"tac"`
}

var (
	cellNR    = regexp.MustCompile(`^[0-9]{5,6}[0-9a-f]{6}[0-9a-f]{9}$`)
	cellEUTRA = regexp.MustCompile(`^[0-9]{5,6}[0-9a-f]{4}[0-9a-f]{7}$`)
)

// ANI renders the access as the value of a P-Access-Network-Info header field that the network provides (RFC 7315 §4.4,
// TS 24.229 §7.2A.4): the cell when the policy function told it. Empty: nothing to say. Duplexing is not told, so the access type has none.
func (a *Access) ANI() string {
	if a == nil {
		return ""
	}
	var l userLocation
	if json.Unmarshal(a.Location, &l) == nil { // an unreadable location is none
		if l.NR != nil {
			if id := strings.ToLower(l.NR.NCGI.PLMN.MCC + l.NR.NCGI.PLMN.MNC + l.NR.TAI.TAC + l.NR.NCGI.Cell); cellNR.MatchString(id) {
				return "3GPP-NR;utran-cell-id-3gpp=" + id + ";network-provided"
			}
		}
		if l.EUTRA != nil {
			if id := strings.ToLower(l.EUTRA.ECGI.PLMN.MCC + l.EUTRA.ECGI.PLMN.MNC + l.EUTRA.TAI.TAC + l.EUTRA.ECGI.Cell); cellEUTRA.MatchString(id) {
				return "3GPP-E-UTRAN;utran-cell-id-3gpp=" + id + ";network-provided"
			}
		}
	}
	switch a.RAT {
	case "NR":
		return "3GPP-NR;network-provided"
	case "EUTRA":
		return "3GPP-E-UTRAN;network-provided"
	case "WLAN":
		return "IEEE-802.11;network-provided"
	}
	return ""
}
