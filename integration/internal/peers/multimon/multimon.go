// Package multimon has multimon-ng look for DTMF in audio: a detector that is not ours, to judge the tones that the gateway plays. Floor 1 of the
// integration module.
package multimon

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"

	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
)

// ErrMissing says that multimon-ng is not installed.
var ErrMissing = errors.New("multimon-ng is not installed (Debian package multimon-ng)")

const (
	rate = 22050 // Hz, of what its DTMF demodulator reads

	// faint is the level of two tones of -25 dBm0 each, dBFS: receivers need not hear fainter ones (ITU-T Q.24 table A-1). multimon-ng by itself
	// looks at proportions only.
	faint = -25
	block = tone.Rate / 200 // 5 ms, which the level is taken of
)

// Digits returns the digits heard in the audio, one for each press, in order; one that is fainter than receivers have to hear is not. Errors: ErrMissing, what multimon-ng complains of.
func Digits(ctx context.Context, pcm []int16) (string, error) {
	path, err := exec.LookPath("multimon-ng")
	if err != nil {
		return "", ErrMissing
	}
	var out, complaint bytes.Buffer
	cmd := exec.CommandContext(ctx, path, "-q", "-a", "DTMF", "-t", "raw", "-")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(resampled(audible(pcm))), &out, &complaint
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("multimon-ng: %w: %s", err, complaint.String())
	}
	var digits strings.Builder
	for line := range strings.Lines(out.String()) {
		if d, ok := strings.CutPrefix(strings.TrimSpace(line), "DTMF: "); ok {
			digits.WriteString(d)
		}
	}
	return digits.String(), nil
}

// audible is a copy of the audio with silence where it is faint.
func audible(pcm []int16) []int16 {
	pcm = slices.Clone(pcm)
	for b := range slices.Chunk(pcm, block) {
		if tone.Level(b) < faint {
			clear(b)
		}
	}
	return pcm
}

// resampled is the audio at rate, as the machine has it in memory. Straight lines between samples are enough: what they add lies above all tones.
func resampled(pcm []int16) []byte {
	n := len(pcm) * rate / tone.Rate
	out := make([]byte, 0, 2*n)
	for i := range n {
		at := i * tone.Rate
		k, part := at/rate, at%rate
		a := int(pcm[k])
		b := a
		if k+1 < len(pcm) {
			b = int(pcm[k+1])
		}
		out = binary.NativeEndian.AppendUint16(out, uint16(int16(a+(b-a)*part/rate)))
	}
	return out
}
