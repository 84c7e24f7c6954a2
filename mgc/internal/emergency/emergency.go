// Package emergency recognises emergency calls and says what becomes of them (TS 24.229 §5.2.10, TS 23.167, RFC 5031). Floor 1 of
// mgc; pure. Every request of a browser is screened by it before any other rule (standards MO-01).
package emergency

import (
	"encoding/xml"
	"errors"
	"fmt"
	"strings"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
)

// Mode is what is done with an emergency call.
type Mode string

// The modes.
const (
	Auto     Mode = "auto"    // by the core's profile; resolved before use
	Redirect Mode = "380"     // 380 Alternative Service: the app uses the phone's own dialler
	Route    Mode = "e-cscf"  // to the configured E-CSCF
	Ordinary Mode = "ignored" // an ordinary call; for cores that route emergency calls themselves
)

// Policy is what an operator sets.
type Policy struct {
	Mode      Mode     `conf:"mode" default:"auto" range:"auto|380|e-cscf|ignored" doc:"380: answered so that the phone's own dialler is used; e-cscf: routed there; ignored: ordinary calls, the core routes them. auto: sip ignored, ims 380."`
	ECSCF     string   `conf:"ecscf" doc:"SIP URI of the E-CSCF."`
	Numbers   []string `conf:"numbers" default:"112,911" doc:"Dial strings of emergency services, besides urn:service:sos."`
	Anonymous bool     `conf:"anonymous" default:"false" doc:"Route emergency calls of browsers that are not registered (e-cscf only)."`
	Text      string   `conf:"text" doc:"Reason for people in the 380."`
}

// Validate implements the check of a configuration.
func (p Policy) Validate() error {
	if p.Mode == Route {
		if u, err := headers.ParseURI(p.ECSCF); err != nil || !u.IsSIP() {
			return errors.New("emergency.ecscf: a SIP URI is needed with mode e-cscf")
		}
	}
	for _, n := range p.Numbers {
		if n == "" || strings.Trim(n, "0123456789*#+") != "" {
			return fmt.Errorf("emergency.numbers: %q is no dial string (digits, *, #, +)", n)
		}
	}
	return nil
}

// sos is the service URN of all emergency services (RFC 5031 §4.2).
const sos = "urn:service:sos"

// Service returns the service URN that a Request-URI asks for, false when it is no emergency call: a service URN itself, or one of
// the numbers as user of a SIP URI or as tel URI.
func (p Policy) Service(requestURI string) (string, bool) {
	if p.Mode == Ordinary {
		return "", false
	}
	low := strings.ToLower(requestURI)
	if low == sos || strings.HasPrefix(low, sos+".") {
		return low, true
	}
	u, err := headers.ParseURI(requestURI)
	if err != nil {
		return "", false
	}
	number := u.User
	switch {
	case u.Scheme == "tel":
		number, _, _ = strings.Cut(u.Opaque, ";")
	case !u.IsSIP():
		return "", false
	default:
		number, _, _ = strings.Cut(number, ";")
	}
	number = strings.Map(dropSeparators, number)
	for _, n := range p.Numbers {
		if n == number {
			return sos, true
		}
	}
	return "", false
}

// dropSeparators leaves visual separators out (RFC 3966 §5.1.1).
func dropSeparators(r rune) rune {
	if strings.ContainsRune("-.() ", r) {
		return -1
	}
	return r
}

// ContentType is that of Alternative.
const ContentType = "application/3gpp-ims+xml"

// Alternative returns the body of the 380: the call is an emergency, and the user equipment is to place it its own way (TS 24.229
// §7.6.2, §5.2.10.4; standards EMG-02).
func (p Policy) Alternative() []byte {
	type service struct {
		Type   string `xml:"type"`
		Reason string `xml:"reason"`
		Action string `xml:"action"`
	}
	doc := struct {
		XMLName xml.Name `xml:"ims-3gpp"`
		Version string   `xml:"version,attr"`
		Service service  `xml:"alternative-service"`
	}{Version: "1", Service: service{Type: "emergency", Reason: p.Text, Action: "emergency-registration"}}
	b, _ := xml.Marshal(doc) // strings only
	return append([]byte(xml.Header), b...)
}

// Registration reports whether a Contact asks for an emergency registration (RFC 3261 parameter sos of TS 24.229 §7.11.1; standards
// REG-31).
func Registration(contactURI string) bool {
	u, err := headers.ParseURI(contactURI)
	return err == nil && u.Params.Has("sos")
}
