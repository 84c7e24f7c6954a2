package policy

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
)

// schema is the part of OpenAPI 3.0 that TS 29.514 and TS 29.571 use, closed: what is not declared is refused.
type schema struct {
	kind     string // object, array, string, integer, map
	required []string
	props    map[string]*schema
	items    *schema // of an array or a map
	min, max int     // items of an array or a map; max 0: any
	enum     []string
	pattern  *regexp.Regexp
	null     bool
	oneOf    []string // exactly one of these properties
}

func str(pattern string) *schema {
	s := &schema{kind: "string"}
	if pattern != "" {
		s.pattern = regexp.MustCompile(pattern)
	}
	return s
}
func enum(v ...string) *schema          { return &schema{kind: "string", enum: v} }
func integer() *schema                  { return &schema{kind: "integer"} }
func array(s *schema, n, m int) *schema { return &schema{kind: "array", items: s, min: n, max: m} }
func mapping(s *schema) *schema         { return &schema{kind: "map", items: s, min: 1} }
func nullable(s *schema) *schema        { c := *s; c.null = true; return &c }
func object(p map[string]*schema, req ...string) *schema {
	return &schema{kind: "object", props: p, required: req}
}

// TS 29.571 and TS 29.514 Annex A.2, release 16. Enumerations are closed here, though the standard lets receivers accept others.
var (
	uri         = str(`^https?://[^\s]+$`)
	bitRateS    = str(`^\d+(\.\d+)? (bps|Kbps|Mbps|Gbps|Tbps)$`)
	suppFeatS   = str(`^[A-Fa-f0-9]*$`)
	ipv4S       = str(`^(([0-9]|[1-9][0-9]|1[0-9][0-9]|2[0-4][0-9]|25[0-5])\.){3}([0-9]|[1-9][0-9]|1[0-9][0-9]|2[0-4][0-9]|25[0-5])$`)
	ipv6S       = str(`^((:|(0?|([1-9a-f][0-9a-f]{0,3}))):)((0?|([1-9a-f][0-9a-f]{0,3})):){0,6}(:|(0?|([1-9a-f][0-9a-f]{0,3})))$`)
	supiS       = str(`^(imsi-[0-9]{5,15}|nai-.+|gci-.+|gli-.+)$`)
	gpsiS       = str(`^(msisdn-[0-9]{5,15}|extid-[^@]+@[^@]+)$`)
	snssaiS     = object(map[string]*schema{"sst": integer(), "sd": str(`^[A-Fa-f0-9]{6}$`)}, "sst")
	mediaTypeS  = enum("AUDIO", "VIDEO", "DATA", "APPLICATION", "CONTROL", "TEXT", "MESSAGE", "OTHER")
	flowStatusS = enum("ENABLED-UPLINK", "ENABLED-DOWNLINK", "ENABLED", "DISABLED", "REMOVED")
	flowUsageS  = enum("NO_INFO", "RTCP", "AF_SIGNALLING")
	resPrioS    = enum("PRIO_1", "PRIO_2", "PRIO_3", "PRIO_4", "PRIO_5", "PRIO_6", "PRIO_7", "PRIO_8", "PRIO_9", "PRIO_10", "PRIO_11", "PRIO_12", "PRIO_13", "PRIO_14", "PRIO_15", "PRIO_16")
	statusS     = enum("FINAL", "PRELIMINARY")
	forkS       = enum("SINGLE_DIALOGUE", "SEVERAL_DIALOGUES")
	// TS 29.214 §5.3.8: permit only, in or out, no options
	filterS = str(`^permit (in|out) (ip|\d{1,3}) from (any|[0-9a-f.:]+(/\d+)?)( \d+(-\d+)?)? to (any|[0-9a-f.:]+(/\d+)?)( \d+(-\d+)?)?$`)
	// TS 29.214 §5.3.7
	codecS = str(`^(uplink|downlink)\n(offer|answer|description)\nm=[^\r\n]+\n((a|b)=[^\r\n]+\n)*$`)

	eventsSubscS = object(map[string]*schema{
		"events": array(object(map[string]*schema{
			"event": enum("ACCESS_TYPE_CHANGE", "ANI_REPORT", "CHARGING_CORRELATION", "EPS_FALLBACK", "FAILED_RESOURCES_ALLOCATION", "OUT_OF_CREDIT",
				"PLMN_CHG", "QOS_MONITORING", "QOS_NOTIF", "RAN_NAS_CAUSE", "REALLOCATION_OF_CREDIT", "SUCCESSFUL_RESOURCES_ALLOCATION", "USAGE_REPORT"),
			"notifMethod": enum("EVENT_DETECTION", "ONE_TIME", "PERIODIC", "PDU_SESSION_RELEASE"), "repPeriod": integer(), "waitTime": integer(),
		}, "event"), 1, 0),
		"notifUri": uri, "reqAnis": array(enum("USER_LOCATION", "UE_TIME_ZONE"), 1, 0), "notifCorreId": str(""),
	}, "events")
	subCompS = object(map[string]*schema{
		"fNum": integer(), "fDescs": array(filterS, 1, 2), "fStatus": flowStatusS, "marBwDl": bitRateS, "marBwUl": bitRateS,
		"tosTrCl": str(""), "flowUsage": flowUsageS,
	}, "fNum")
	medCompS = object(map[string]*schema{
		"afAppId": str(""), "codecs": array(codecS, 1, 2), "fStatus": flowStatusS, "marBwDl": bitRateS, "marBwUl": bitRateS, "medCompN": integer(),
		"medSubComps": mapping(subCompS), "medType": mediaTypeS, "mirBwDl": bitRateS, "mirBwUl": bitRateS, "resPrio": resPrioS, "rrBw": bitRateS, "rsBw": bitRateS,
	}, "medCompN")
	medCompRmS = object(map[string]*schema{
		"afAppId": str(""), "codecs": array(codecS, 1, 2), "fStatus": flowStatusS, "marBwDl": nullable(bitRateS), "marBwUl": nullable(bitRateS), "medCompN": integer(),
		"medSubComps": mapping(nullable(subCompS)), "medType": mediaTypeS, "mirBwDl": nullable(bitRateS), "mirBwUl": nullable(bitRateS), "resPrio": resPrioS,
		"rrBw": nullable(bitRateS), "rsBw": nullable(bitRateS),
	}, "medCompN")
	reqDataS = func() *schema {
		s := object(map[string]*schema{
			"afAppId": str(""), "afChargId": str(""), "aspId": str(""), "dnn": str(""), "evSubsc": eventsSubscS, "medComponents": mapping(medCompS),
			"ipDomain": str(""), "mpsId": str(""), "resPrio": resPrioS, "servInfStatus": statusS, "notifUri": uri, "servUrn": str(`^sos(\.[a-z-]+)*$`),
			"sliceInfo": snssaiS, "supi": supiS, "gpsi": gpsiS, "suppFeat": suppFeatS, "ueIpv4": ipv4S, "ueIpv6": ipv6S,
		}, "notifUri", "suppFeat")
		s.oneOf = []string{"ueIpv4", "ueIpv6", "ueMac"}
		return s
	}()
	appSessionS = object(map[string]*schema{"ascReqData": reqDataS}, "ascReqData")
	patchS      = object(map[string]*schema{"ascReqData": object(map[string]*schema{
		"afAppId": str(""), "aspId": str(""), "evSubsc": nullable(eventsSubscS), "medComponents": mapping(nullable(medCompRmS)), "mpsId": str(""),
		"resPrio": resPrioS, "servInfStatus": statusS, "sipForkInd": forkS,
	})})
	restorationS = func() *schema {
		s := object(map[string]*schema{"dnn": str(""), "ipDomain": str(""), "sliceInfo": snssaiS, "supi": supiS, "ueIpv4": ipv4S, "ueIpv6": ipv6S})
		s.oneOf = []string{"ueIpv4", "ueIpv6"}
		return s
	}()
)

// conforms checks text against s, and that the keys of maps of components are their numbers.
func (s *schema) conforms(text []byte) error {
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		return err
	}
	return s.check("", v)
}

func (s *schema) check(at string, v any) error {
	bad := func(format string, a ...any) error { return fmt.Errorf("%s: %s", at, fmt.Sprintf(format, a...)) }
	if v == nil {
		if s.null {
			return nil
		}
		return bad("null")
	}
	switch s.kind {
	case "object", "map":
		m, ok := v.(map[string]any)
		if !ok {
			return bad("no object")
		}
		return s.checkObject(at, m)
	case "array":
		l, ok := v.([]any)
		if !ok || len(l) < s.min || s.max > 0 && len(l) > s.max {
			return bad("no array of %d..%d", s.min, s.max)
		}
		for i, x := range l {
			if err := s.items.check(at+"/"+strconv.Itoa(i), x); err != nil {
				return err
			}
		}
	case "integer":
		if f, ok := v.(float64); !ok || f != float64(int(f)) {
			return bad("no integer")
		}
	case "string":
		t, ok := v.(string)
		if !ok || s.enum != nil && !slices.Contains(s.enum, t) || s.pattern != nil && !s.pattern.MatchString(t) {
			return bad("value %v", v)
		}
	}
	return nil
}

func (s *schema) checkObject(at string, m map[string]any) error {
	if s.kind == "map" {
		if len(m) < s.min {
			return fmt.Errorf("%s: empty", at)
		}
		for k, x := range m {
			if err := s.items.check(at+"/"+k, x); err != nil {
				return err
			}
			if o, ok := x.(map[string]any); ok {
				for _, n := range []string{"medCompN", "fNum"} {
					if num, ok := o[n]; ok && fmt.Sprint(num) != k {
						return fmt.Errorf("%s/%s: %s is %v", at, k, n, num)
					}
				}
			}
		}
		return nil
	}
	for k, x := range m {
		p, ok := s.props[k]
		if !ok {
			return fmt.Errorf("%s/%s: unknown", at, k)
		}
		if err := p.check(at+"/"+k, x); err != nil {
			return err
		}
	}
	for _, r := range s.required {
		if _, ok := m[r]; !ok {
			return fmt.Errorf("%s/%s: missing", at, r)
		}
	}
	n := 0
	for _, r := range s.oneOf {
		if _, ok := m[r]; ok {
			n++
		}
	}
	if s.oneOf != nil && n != 1 {
		return fmt.Errorf("%s: %d of %v", at, n, s.oneOf)
	}
	return nil
}
