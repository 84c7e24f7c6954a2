package flow

import (
	"fmt"

	"github.com/isthmus-gateway/isthmus/mgw/internal/transcode"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// PathKind says what is done with media on their way.
type PathKind uint8

// Kinds of paths.
const (
	PathNone      PathKind = iota // nothing passes, or not known yet
	PathRelay                     // as they are
	PathRepack                    // AMR: the same frames, packed otherwise (RFC 4867 §4.3, §4.4)
	PathTranscode                 // decoded and encoded
)

// Path is what is done with audio of one format on its way to another, and why. The zero value: nothing passes.
type Path struct {
	Kind     PathKind
	From, To string // "opus/48000/2"
	Reason   string // for people
}

// Reasons of paths.
const (
	whyShared    = "both sides have the codec"
	whyPacked    = "the same codec, packed otherwise"
	whyModes     = "the receiver does not take every mode of the sender"
	whyRequests  = "mode requests on the way back are for a codec of ours"
	whyDifferent = "the sides have different codecs"
	whyTones     = "digits are played as tones"
	whyNoise     = "the receiver takes no comfort noise"
	whyShorter   = "the receiver takes no packets of the usual length"
	whyListens   = "digits are looked for in the audio"
)

// Plan is how audio of format from leaves as format to. A codec that cannot be coded, such as EVS, is relayed where both sides have it, and else
// refused: ErrUnsupported, naming both.
func Plan(from, to codec.Codec) (Path, error) {
	p := Path{From: describe(from), To: describe(to)}
	switch {
	case from.SameFormat(to):
		p.Kind, p.Reason = PathRelay, whyShared
		return p, nil
	case newRepacker(from, to) != nil:
		p.Kind, p.Reason = PathRepack, whyPacked
		return p, nil
	}
	for _, c := range [2]codec.Codec{from, to} {
		if why := transcode.Unsupported(c); why != nil {
			return Path{}, fmt.Errorf("%w: %s to %s: %w", ErrUnsupported, p.From, p.To, why)
		}
	}
	p.Kind, p.Reason = PathTranscode, whyDifferent
	if from.SameCodec(to) {
		p.Reason = whyModes
	}
	return p, nil
}

// path is what the flow does with what the source sends now, before its first packet with its first format.
func (f *Flow) path() Path {
	from := f.src.in.last
	if from == nil || from.class != classAudio {
		from = nil
		for i := range f.src.in.formats {
			if f.src.in.formats[i].class == classAudio {
				from = &f.src.in.formats[i]
				break
			}
		}
	}
	to := f.dst.set.Send
	if from == nil || to.IsZero() {
		return Path{}
	}
	p, err := Plan(from.codec, to)
	switch {
	case err != nil:
		return Path{}
	case p.Kind != PathTranscode && !f.throughBothWays(from.codec) && transcode.Supported(from.codec):
		p.Kind, p.Reason = PathTranscode, whyRequests
	case p.Kind != PathTranscode && f.src.listens() && transcode.Supported(from.codec):
		p.Kind, p.Reason = PathTranscode, whyListens
	case p.Kind != PathTranscode && f.dst.set.shortens(from.codec):
		p.Kind, p.Reason = PathTranscode, whyShorter
	case p.Kind != PathTranscode && f.active != nil && f.active.hushed:
		p.Kind, p.Reason = PathTranscode, whyNoise
	case p.Kind != PathTranscode && f.active != nil && f.beeped != 0:
		p.Kind, p.Reason = PathTranscode, whyTones
	}
	return p
}
