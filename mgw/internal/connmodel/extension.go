package connmodel

import (
	"github.com/isthmus-gateway/isthmus/pkg/gwerr"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// Extension is a header extension agreed for a stream (RFC 8285 §5).
type Extension struct {
	ID  uint8 // in packets, 1 to 14
	URI string
}

// midURI is the header extension by which packets tell their stream (RFC 9143 §15).
const midURI = "urn:ietf:params:rtp-hdrext:sdes:mid"

const (
	maxExtension = 14 // greatest identifier, and most extensions (RFC 8285 §4.2)
	maxMID       = 16 // octets in the one-byte form
)

func parseExtensions(list []*iqv1.HeaderExtension) ([]Extension, *Error) {
	if len(list) > maxExtension {
		return nil, Errorf(gwerr.UnsupportedValue, "%d header_extensions, at most %d", len(list), maxExtension)
	}
	var out []Extension
	var seen [maxExtension + 1]bool
	for _, m := range list {
		id := m.GetId()
		switch {
		case id < 1 || id > maxExtension:
			return nil, Errorf(codeCommandSyntax, "header extension %d, from 1 to %d", id, maxExtension)
		case seen[id]:
			return nil, Errorf(codeCommandSyntax, "header extension %d twice", id)
		case m.GetUri() == "":
			return nil, Errorf(codeCommandSyntax, "header extension %d without URI", id)
		}
		seen[id] = true
		out = append(out, Extension{ID: uint8(id), URI: Clip(m.GetUri())})
	}
	return out, nil
}

// midExtension is the identifier of the MID in packets; 0: not agreed.
func (d Description) midExtension() uint8 {
	for _, x := range d.Extensions {
		if x.URI == midURI {
			return x.ID
		}
	}
	return 0
}

// checkMID holds the MID of an access stream against its header extension.
func (s *Stream) checkMID(kind Kind) *Error {
	if n := len(s.Mid); kind == KindAccess && s.Remote.midExtension() != 0 && (n == 0 || n > maxMID) {
		return Errorf(gwerr.UnsupportedValue, "mid %q: with %s it has 1 to %d octets", s.Mid, midURI, maxMID)
	}
	return nil
}

func extensionMessages(list []Extension) []*iqv1.HeaderExtension {
	var out []*iqv1.HeaderExtension
	for _, x := range list {
		out = append(out, &iqv1.HeaderExtension{Id: uint32(x.ID), Uri: x.URI})
	}
	return out
}
