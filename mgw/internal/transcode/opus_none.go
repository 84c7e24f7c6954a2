//go:build !cgo || noopus

package transcode

import (
	"fmt"

	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// opusAvailable is empty: this build has no libopus.
func opusAvailable() []codec.Codec { return nil }

func newOpusEncoder(c codec.Codec, _ EncoderConfig) (Encoder, error) {
	return nil, fmt.Errorf("%w: %s", ErrUnsupported, c.Name)
}

func newOpusDecoder(int) (Decoder, error) {
	return nil, fmt.Errorf("%w: %s", ErrUnsupported, codec.Opus)
}
