// Package reginfo reads the bodies of reg-event notifications (application/reginfo+xml, RFC 3680 §5). Floor 1 of mgc; pure, bounded.
package reginfo

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// ContentType is the media type of the documents.
const ContentType = "application/reginfo+xml"

// Bounds of a document.
const (
	MaxSize          = 64 << 10 // octets
	MaxRegistrations = 64
	MaxContacts      = 64 // of one registration
)

// Document is one notification.
type Document struct {
	Version       uint64 // grows by one with each document of a subscription, from 0
	Full          bool   // all registrations; else only what changed
	Registrations []Registration
}

// Registration is the state of one address of record.
type Registration struct {
	AOR      string
	ID       string
	State    string // "init", "active", "terminated"
	Contacts []Contact
}

// Contact is the state of one contact.
type Contact struct {
	ID    string
	URI   string
	State string // "active", "terminated"
	Event string // what brought it there: "registered", "created", "refreshed", "shortened", "expired", "deactivated", "probation", "unregistered", "rejected"
}

// Ended reports whether the network has ended the contact, and for good: after "deactivated" and "probation" the client may register
// anew (RFC 3680 §5.2), after the others it should not at once.
func (c Contact) Ended() bool { return c.State == "terminated" }

// ErrDocument is wrapped by the errors of Parse.
var ErrDocument = errors.New("no usable reginfo document")

type wire struct {
	XMLName       xml.Name `xml:"reginfo"`
	Version       *uint64  `xml:"version,attr"`
	State         string   `xml:"state,attr"`
	Registrations []struct {
		AOR      string `xml:"aor,attr"`
		ID       string `xml:"id,attr"`
		State    string `xml:"state,attr"`
		Contacts []struct {
			ID    string `xml:"id,attr"`
			State string `xml:"state,attr"`
			Event string `xml:"event,attr"`
			URI   string `xml:"uri"`
		} `xml:"contact"`
	} `xml:"registration"`
}

// Parse reads a document. Unknown elements are skipped; entities and a document type are refused.
func Parse(b []byte) (Document, error) {
	if len(b) > MaxSize {
		return Document{}, fmt.Errorf("%d octets: %w", len(b), ErrDocument)
	}
	dec := xml.NewDecoder(bytes.NewReader(b))
	dec.Strict = true
	dec.Entity = map[string]string{}
	var w wire
	if err := dec.Decode(&w); err != nil {
		return Document{}, fmt.Errorf("%w: %v", ErrDocument, err)
	}
	if !atEnd(dec) {
		return Document{}, fmt.Errorf("text after the document: %w", ErrDocument)
	}
	if w.Version == nil || w.State != "full" && w.State != "partial" || len(w.Registrations) > MaxRegistrations {
		return Document{}, fmt.Errorf("version, state or size: %w", ErrDocument)
	}
	d := Document{Version: *w.Version, Full: w.State == "full"}
	for _, r := range w.Registrations {
		if !slices.Contains([]string{"init", "active", "terminated"}, r.State) || r.AOR == "" || len(r.Contacts) > MaxContacts {
			return Document{}, fmt.Errorf("registration %q: %w", cut(r.AOR), ErrDocument)
		}
		reg := Registration{AOR: r.AOR, ID: r.ID, State: r.State}
		for _, c := range r.Contacts {
			uri := strings.TrimSpace(c.URI)
			if c.State != "active" && c.State != "terminated" || uri == "" {
				return Document{}, fmt.Errorf("contact %q: %w", cut(uri), ErrDocument)
			}
			reg.Contacts = append(reg.Contacts, Contact{ID: c.ID, URI: uri, State: c.State, Event: c.Event})
		}
		d.Registrations = append(d.Registrations, reg)
	}
	return d, nil
}

// atEnd reports whether only white space and comments follow.
func atEnd(dec *xml.Decoder) bool {
	for {
		t, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return true
		}
		switch t := t.(type) {
		case xml.CharData:
			if len(bytes.TrimSpace(t)) > 0 {
				return false
			}
		case xml.Comment:
		default:
			return false
		}
	}
}

func cut(s string) string {
	if len(s) > 64 {
		return s[:64]
	}
	return s
}
