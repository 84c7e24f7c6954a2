package policy

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Features of TS 29.514 §5.8 by number; feature n is bit n-1 of suppFeat.
const (
	featureIMS   = 5
	featNetLoc   = 6
	featES3XX    = 26
	featPatchFix = 28
)

// suppFeat is what we know.
var suppFeat = features(featureIMS, featNetLoc, featES3XX, featPatchFix)

func features(n ...int) string {
	var bits uint64
	for _, f := range n {
		bits |= 1 << (f - 1)
	}
	return strings.ToUpper(strconv.FormatUint(bits, 16))
}

// common returns the features in both lists (TS 29.500 §6.6.2). Only the last 16 digits are looked at: higher ones are not ours.
func common(theirs string) string {
	if len(theirs) > 16 {
		theirs = theirs[len(theirs)-16:]
	}
	a, _ := strconv.ParseUint(suppFeat, 16, 64)
	b, err := strconv.ParseUint(theirs, 16, 64)
	if err != nil {
		return "0"
	}
	return strings.ToUpper(strconv.FormatUint(a&b, 16))
}

func hasFeature(list string, n int) bool {
	bits, err := strconv.ParseUint(list, 16, 64)
	return err == nil && bits&(1<<(n-1)) != 0
}

// creation is the body of the POST that makes the application session, with the components that it tells.
func (c *Config) creation(f *Facts, notifURI string) (body []byte, sent, rtcp []int, err error) {
	media, _ := f.requested()
	comps := map[string]mediaComponent{}
	for _, m := range media {
		if m.Removed {
			continue // never was
		}
		comps[strconv.Itoa(m.Number)] = component(&m, f)
		sent = append(sent, m.Number)
		if hasRTCP(&m) {
			rtcp = append(rtcp, m.Number)
		}
	}
	d := &reqData{
		AfAppID: c.Network.Application, AfChargID: f.ChargingID, AspID: c.Network.Provider, DNN: c.Network.DNN, IPDomain: c.Network.IPDomain, SliceInfo: c.Network.slice(),
		EvSubsc: c.subscription(notifURI), MedComponents: comps, ServInfStatus: string(f.Status), NotifURI: notifURI,
		SUPI: f.SUPI, GPSI: f.GPSI, SuppFeat: suppFeat, MPSID: c.Network.mps(f), ResPrio: priority(f.Priority), ServURN: f.urn(),
	}
	if f.Application != "" {
		d.AfAppID = f.Application
	}
	if ue := f.UE.Unmap().WithZone(""); ue.Is4() {
		d.UEIPv4 = ue.String()
	} else {
		d.UEIPv6 = ue.String()
	}
	body, err = json.Marshal(appSessionContext{AscReqData: d})
	slices.Sort(sent)
	slices.Sort(rtcp)
	return body, sent, rtcp, err
}

// patch is the body of the PATCH that brings the application session to f, and s as it is then. Each component is told whole, with null
// for what it does not have, so that repeating the patch, or losing one before it, does no harm.
func (c *Config) patch(s Session, f *Facts) ([]byte, Session, error) {
	media, forked := f.requested()
	u := updateData{MPSID: c.Network.mps(f), ResPrio: priority(f.Priority), MedComponents: map[string]mediaComponentRm{}}
	if hasFeature(s.Features, featureIMS) {
		u.ServInfStatus, u.SIPForkInd = string(f.Status), "SINGLE_DIALOGUE"
		if forked {
			u.SIPForkInd = "SEVERAL_DIALOGUES"
		}
	}
	next := s
	next.Sent, next.RTCP = nil, nil
	for _, m := range media {
		known := slices.Contains(s.Sent, m.Number)
		switch {
		case m.Removed && !known:
			continue
		case m.Removed:
			u.MedComponents[strconv.Itoa(m.Number)] = mediaComponentRm{MedCompN: m.Number, FStatus: "REMOVED"}
			continue
		}
		c := component(&m, f)
		rm := mediaComponentRm{
			Codecs: c.Codecs, FStatus: c.FStatus, MarBwDl: orNull(c.MarBwDl), MarBwUl: orNull(c.MarBwUl), MedCompN: c.MedCompN, MedType: c.MedType,
			RrBw: c.RrBw, RsBw: c.RsBw, MedSubComps: map[string]*mediaSubComponent{},
		}
		for n, sub := range c.MedSubComps {
			rm.MedSubComps[n] = &sub
		}
		if hasRTCP(&m) {
			next.RTCP = append(next.RTCP, m.Number)
		} else if slices.Contains(s.RTCP, m.Number) {
			rm.MedSubComps["2"] = nil // multiplexed from now on
		}
		u.MedComponents[strconv.Itoa(m.Number)] = rm
		next.Sent = append(next.Sent, m.Number)
	}
	slices.Sort(next.Sent)
	slices.Sort(next.RTCP)
	body, err := json.Marshal(patchData{AscReqData: u})
	return body, next, err
}

func orNull(b bitRate) *bitRate {
	if b == 0 {
		return nil
	}
	return &b
}

// component describes a media line that is not removed.
func component(m *Media, f *Facts) mediaComponent {
	c := mediaComponent{
		MedCompN: m.Number, MedType: mediaType(m.Type), FStatus: flowStatus(m.Direction), MarBwUl: bitRate(m.BandwidthUp), MarBwDl: bitRate(m.BandwidthDown),
		RsBw: (*bitRate)(m.RTCPSenders), RrBw: (*bitRate)(m.RTCPReceivers),
	}
	for _, cd := range m.Codecs[:min(len(m.Codecs), 2)] {
		if text := cd.text(); text != "" {
			c.Codecs = append(c.Codecs, text)
		}
	}
	for _, fl := range m.Flows {
		sub := mediaSubComponent{FNum: 1, FDescs: fl.descriptions(f.UE)}
		if fl.RTCP {
			sub.FNum, sub.FlowUsage, sub.FStatus = 2, "RTCP", "ENABLED" // RTCP flows both ways whatever the media do (TS 29.213 §6.2)
		}
		if c.MedSubComps == nil {
			c.MedSubComps = map[string]mediaSubComponent{}
		}
		c.MedSubComps[strconv.Itoa(sub.FNum)] = sub
	}
	return c
}

func hasRTCP(m *Media) bool {
	return slices.ContainsFunc(m.Flows, func(f Flow) bool { return f.RTCP })
}

func mediaType(s string) string {
	switch s {
	case "audio", "video", "text", "message", "application", "data", "control":
		return strings.ToUpper(s)
	}
	return "OTHER"
}

// flowStatus: uplink is what the browser sends.
func flowStatus(d Direction) string {
	switch {
	case d.sends() && d.receives():
		return "ENABLED"
	case d.sends():
		return "ENABLED-UPLINK"
	case d.receives():
		return "ENABLED-DOWNLINK"
	}
	return "DISABLED"
}

// mps is the name of the multimedia priority service that the call belongs to (TS 29.514 §4.2.2.12); "": none.
func (n *NetworkConfig) mps(f *Facts) string {
	if !f.MPS {
		return ""
	}
	return n.MPS
}

func priority(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("PRIO_%d", n)
}

// text is the value of CodecData (TS 29.214 §5.3.7): two words on lines of their own, then the description. Only lines that say something
// of codecs go out; keys, ICE credentials and addresses stay here.
func (c Codec) text() string {
	if len(c.SDP) == 0 || !strings.HasPrefix(c.SDP[0], "m=") {
		return ""
	}
	link, kind := "downlink", c.Kind
	if c.Uplink {
		link = "uplink"
	}
	if kind != "offer" && kind != "answer" {
		kind = "description"
	}
	lines := []string{link, kind}
	for i, line := range c.SDP {
		line = strings.TrimRight(line, "\r\n")
		if strings.ContainsAny(line, "\r\n") || i > 0 && !aboutCodecs(line) {
			continue
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n") + "\n"
}

func aboutCodecs(line string) bool {
	for _, p := range []string{"a=rtpmap:", "a=fmtp:", "a=ptime:", "a=maxptime:", "b=TIAS:", "a=imageattr:", "a=framerate:"} {
		if strings.HasPrefix(line, p) {
			return true
		}
	}
	return false
}

// subscription is what we want to hear of (PCC-05). The location is asked for once.
func (c *Config) subscription(notifURI string) *eventsSubsc {
	s := &eventsSubsc{NotifURI: notifURI}
	for _, e := range []string{eventAccessType, eventCharging, eventFailed, eventCredit, eventPLMN, eventQoS, eventSuccess} {
		s.Events = append(s.Events, eventSubscription{Event: e, NotifMethod: "EVENT_DETECTION"})
	}
	if c.Network.Location {
		s.Events = append(s.Events, eventSubscription{Event: eventANI, NotifMethod: "ONE_TIME"})
		s.ReqAnis = []string{"USER_LOCATION", "UE_TIME_ZONE"}
	}
	return s
}
