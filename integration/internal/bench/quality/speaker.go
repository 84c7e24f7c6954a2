package quality

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os/exec"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/bench/speech"
)

// ErrNoSpeaker says that there is no espeak-ng on this machine.
var ErrNoSpeaker = errors.New("espeak-ng is not installed")

// voices and texts of the speakers; the texts are longer than any run. The k-th call takes the k-th of each.
var (
	voices = []string{"en-us+m3", "en-gb+f3", "de+m2", "en-us+f4", "fr+m4", "es+f2"}
	texts  = []string{
		"The ferry leaves the northern pier at seven, and the last bus waits for nobody. Take your umbrella, a sandwich and both tickets. ",
		"Please tell the office that forty five boxes of green apples arrived this morning, but nobody has signed for the heavy parcel. ",
		"Der Zug nach Osten faehrt heute von Gleis drei. Bitte steigen Sie zuegig ein, und vergessen Sie Ihre Taschen nicht. ",
		"When the wind turns, sailors shorten their sails quickly; a calm voice helps more than a loud one in such weather. ",
		"Les enfants jouent dans le jardin pendant que le facteur apporte une lettre de la ville voisine. ",
		"El mercado abre temprano y los vecinos compran pan, queso y fruta fresca antes de ir al trabajo. ",
	}
)

const loudness = 2200.0 // root mean square of the speech, pauses included: about -23 dB of full scale

// material is one speaker's speech.
type material struct {
	wide   []int16 // at 48 kHz, for the browser's encoder
	middle []int16 // at 16 kHz, for a core network with a codec of wide band
	narrow []int16 // at rate, for one without
}

// speak makes the k-th speaker say length of speech. Errors: ErrNoSpeaker, espeak-ng's.
func speak(ctx context.Context, k int, length time.Duration) (*material, error) {
	path, err := exec.LookPath("espeak-ng")
	if err != nil {
		return nil, ErrNoSpeaker
	}
	text := texts[k%len(texts)]
	var wav []byte
	var pcm []float64
	for said := text; ; said += text {
		// Without the text's own pauses at the ends, and a little faster than usual: more speech in the time.
		if wav, err = exec.CommandContext(ctx, path, "--stdout", "-s", "170", "-v", voices[k%len(voices)], said).Output(); err != nil {
			return nil, fmt.Errorf("espeak-ng: %w", err)
		}
		var hz int
		if pcm, hz, err = readWAV(wav); err != nil {
			return nil, err
		}
		if len(pcm) >= int(length.Seconds()*float64(hz)) {
			return newMaterial(pcm[:int(length.Seconds()*float64(hz))], hz), nil
		}
	}
}

// newMaterial brings pcm to both rates and to the usual level.
func newMaterial(pcm []float64, hz int) *material {
	sum := 0.0
	for _, v := range pcm {
		sum += v * v
	}
	gain := loudness / math.Sqrt(sum/float64(len(pcm))+1)
	for i := range pcm {
		pcm[i] *= gain
	}
	to := func(rate int) []int16 { return speech.Samples(speech.Convert(pcm, hz, rate)) }
	return &material{wide: to(speech.Wide), middle: to(speech.Middle), narrow: to(rate)}
}

// readWAV reads mono PCM of 16 bit. espeak-ng does not know the length when it writes the header, so that of the last chunk is not believed.
func readWAV(b []byte) (pcm []float64, hz int, err error) {
	if len(b) < 44 || !bytes.Equal(b[:4], []byte("RIFF")) || binary.LittleEndian.Uint16(b[20:]) != 1 || binary.LittleEndian.Uint16(b[22:]) != 1 ||
		binary.LittleEndian.Uint16(b[34:]) != 16 || !bytes.Equal(b[36:40], []byte("data")) {
		return nil, 0, errors.New("espeak-ng: not a WAV file of one channel and 16 bit")
	}
	for b, hz = b[44:], int(binary.LittleEndian.Uint32(b[24:])); len(b) >= 2; b = b[2:] {
		pcm = append(pcm, float64(int16(binary.LittleEndian.Uint16(b))))
	}
	return pcm, hz, nil
}
