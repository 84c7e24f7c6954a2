package connmodel

import (
	"fmt"
	"strings"

	"github.com/isthmus-gateway/isthmus/pkg/gwerr"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// Codes of H.248.8 that only the model raises; the others are in gwerr.
const (
	codeCommandSyntax  gwerr.Code = 442 // syntax error in command: a malformed value
	codeTwice          gwerr.Code = 448 // descriptor appears twice in a command
	codeUnknownEvent   gwerr.Code = 451 // no such event
	codeTopology       gwerr.Code = 522 // functionality requested in topology triple not supported
	maxErrorText                  = 256
	maxEchoedValue                = 64
	errTextTruncated              = "..."
	maxCommands                   = 16
	maxTerminations               = 8
	maxStreams                    = 32 // of a termination
	maxCodecs                     = 32
	maxCandidates                 = 64
	maxFingerprints               = 8
	maxPrefixes                   = 32
	maxTopologyTriples            = 32
	maxEventSpecs                 = 16
	maxSignals                    = 32
	maxRepeat                     = 1000
	maxCorrelationID              = 128
)

// Error is why a command or an action failed: a code of H.248.8 and a text that names the offending element and value.
type Error struct {
	Code gwerr.Code
	Text string // at most 256 bytes, printable
}

// Error gives code and text in one line.
func (e *Error) Error() string { return fmt.Sprintf("H.248 error %d: %s", uint32(e.Code), e.Text) }

// Descriptor is the error as it travels on Iq (H.248.1 §7.1.19); nil for nil.
func (e *Error) Descriptor() *iqv1.ErrorDescriptor {
	if e == nil {
		return nil
	}
	return &iqv1.ErrorDescriptor{Code: uint32(e.Code), Text: e.Text}
}

// Errorf makes an Error. Strings that came from outside are to be formatted with %q after Clip.
func Errorf(code gwerr.Code, format string, args ...any) *Error {
	text := fmt.Sprintf(format, args...)
	if len(text) > maxErrorText {
		text = strings.ToValidUTF8(text[:maxErrorText-len(errTextTruncated)], "") + errTextTruncated
	}
	return &Error{Code: code, Text: text}
}

// Clip shortens a value from outside for an error text, to 64 bytes; it stays valid UTF-8, as messages of Iq must be.
func Clip(s string) string {
	if len(s) > maxEchoedValue {
		return strings.ToValidUTF8(s[:maxEchoedValue-len(errTextTruncated)], "") + errTextTruncated
	}
	return s
}

// at puts the place of the error in front of its text, keeping the code.
func (e *Error) at(format string, args ...any) *Error {
	return Errorf(e.Code, "%s: %s", fmt.Sprintf(format, args...), e.Text)
}

// CodeInternal is an internal software failure of the gateway.
const CodeInternal gwerr.Code = 500
