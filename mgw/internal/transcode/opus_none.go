//go:build !cgo || noopus

package transcode

import (
	"fmt"

	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// opusBuilt is false: this build has no libopus.
const opusBuilt = false

func newOpusEncoder(c codec.Codec, _ EncoderConfig) (Encoder, error) {
	return nil, fmt.Errorf("%w: %s", ErrUnsupported, c.Name)
}

func newOpusDecoder(int) (Decoder, error) {
	return nil, fmt.Errorf("%w: %s", ErrUnsupported, codec.Opus)
}
