package announce

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// ErrFormat tells that a file is no WAV that can be played; it is wrapped with the reason.
var ErrFormat = errors.New("announce: not a WAV file that can be played")

const (
	formatPCM        = 1
	formatExtensible = 0xfffe
	pcmGUID          = "\x01\x00\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71"
)

// wav is the sound of a file.
type wav struct {
	rate int // Hz
	pcm  []int16
}

// parse reads a RIFF WAVE file: PCM of 16 bits at 8000, 16000 or 48000 Hz, one channel or two, which are mixed. longest bounds its duration.
func parse(b []byte, longest time.Duration) (wav, error) {
	refuse := func(format string, args ...any) (wav, error) {
		return wav{}, fmt.Errorf("%w: %s", ErrFormat, fmt.Sprintf(format, args...))
	}
	if len(b) < 12 || string(b[:4]) != "RIFF" || string(b[8:12]) != "WAVE" {
		return refuse("no RIFF WAVE header")
	}
	var w wav
	channels := 0
	for b = b[12:]; len(b) >= 8; {
		id, size := string(b[:4]), int64(binary.LittleEndian.Uint32(b[4:]))
		body := b[8:]
		if size > int64(len(body)) {
			return refuse("chunk %q of %d bytes, %d are there", id, size, len(body))
		}
		body = body[:size]
		switch id {
		case "fmt ":
			var err error
			if w.rate, channels, err = format(body); err != nil {
				return wav{}, err
			}
		case "data":
			if channels == 0 {
				return refuse("sound before its format")
			}
			frames := len(body) / (2 * channels)
			if d := time.Duration(frames) * time.Second / time.Duration(w.rate); d > longest {
				return refuse("%v long, at most %v", d.Round(100*time.Millisecond), longest)
			}
			if frames == 0 {
				return refuse("no sound")
			}
			w.pcm = mix(body, channels, frames)
			return w, nil
		}
		b = b[8+min(size+size&1, int64(len(b)-8)):]
	}
	return refuse("no data chunk")
}

// format reads a fmt chunk.
func format(b []byte) (rate, channels int, err error) {
	refuse := func(format string, args ...any) (int, int, error) {
		return 0, 0, fmt.Errorf("%w: %s", ErrFormat, fmt.Sprintf(format, args...))
	}
	if len(b) < 16 {
		return refuse("format of %d bytes", len(b))
	}
	kind := binary.LittleEndian.Uint16(b)
	if kind == formatExtensible && len(b) >= 40 && string(b[24:40]) == pcmGUID {
		kind = formatPCM
	}
	channels, rate = int(binary.LittleEndian.Uint16(b[2:])), int(binary.LittleEndian.Uint32(b[4:]))
	switch bits := binary.LittleEndian.Uint16(b[14:]); {
	case kind != formatPCM:
		return refuse("coding %#x, PCM is needed", kind)
	case bits != 16:
		return refuse("%d bits per sample, 16 are needed", bits)
	case channels != 1 && channels != 2:
		return refuse("%d channels, 1 or 2 are possible", channels)
	case rate != 8000 && rate != 16000 && rate != 48000:
		return refuse("%d Hz; 8000, 16000 and 48000 are possible", rate)
	}
	return rate, channels, nil
}

// mix makes mono of what may be stereo.
func mix(b []byte, channels, frames int) []int16 {
	pcm := make([]int16, frames)
	for i := range pcm {
		sum := 0
		for c := range channels {
			sum += int(int16(binary.LittleEndian.Uint16(b[2*(i*channels+c):])))
		}
		pcm[i] = int16(sum / channels)
	}
	return pcm
}
