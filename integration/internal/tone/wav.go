package tone

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// WriteWAV writes pcm as a RIFF/WAVE file, 16 bit mono at Rate.
func WriteWAV(w io.Writer, pcm []int16) error {
	size := uint32(2 * len(pcm))
	h := make([]byte, 0, 44)
	h = append(h, "RIFF"...)
	h = binary.LittleEndian.AppendUint32(h, 36+size)
	h = append(h, "WAVEfmt "...)
	h = binary.LittleEndian.AppendUint32(h, 16)
	h = binary.LittleEndian.AppendUint16(h, 1) // PCM
	h = binary.LittleEndian.AppendUint16(h, 1) // mono
	h = binary.LittleEndian.AppendUint32(h, Rate)
	h = binary.LittleEndian.AppendUint32(h, 2*Rate)
	h = binary.LittleEndian.AppendUint16(h, 2)
	h = binary.LittleEndian.AppendUint16(h, 16)
	h = append(h, "data"...)
	h = binary.LittleEndian.AppendUint32(h, size)
	if _, err := w.Write(h); err != nil {
		return fmt.Errorf("tone: write WAV header: %w", err)
	}
	if err := binary.Write(w, binary.LittleEndian, pcm); err != nil {
		return fmt.Errorf("tone: write WAV samples: %w", err)
	}
	return nil
}

// ErrWAV reports a WAV file of a kind not read here.
var ErrWAV = errors.New("tone: not a mono 8 kHz WAV of PCM16, A-law or mu-law")

// ReadWAV reads a mono WAV file at Rate: 16-bit PCM, A-law or mu-law. Other chunks are skipped.
func ReadWAV(data []byte) ([]int16, error) {
	if len(data) < 12 || string(data[:4]) != "RIFF" || string(data[8:12]) != "WAVE" {
		return nil, ErrWAV
	}
	var format uint16
	for rest := data[12:]; len(rest) >= 8; {
		id, size := string(rest[:4]), binary.LittleEndian.Uint32(rest[4:8])
		rest = rest[8:]
		if uint64(size) > uint64(len(rest)) {
			return nil, fmt.Errorf("%w: chunk %q cut short", ErrWAV, id)
		}
		body := rest[:size]
		switch id {
		case "fmt ":
			if size < 16 || binary.LittleEndian.Uint16(body[2:]) != 1 || binary.LittleEndian.Uint32(body[4:]) != Rate {
				return nil, ErrWAV
			}
			format = binary.LittleEndian.Uint16(body)
		case "data":
			return wavSamples(format, body)
		}
		rest = rest[min(len(rest), int(size+size&1)):]
	}
	return nil, ErrWAV
}

func wavSamples(format uint16, body []byte) ([]int16, error) {
	switch format {
	case 1:
		pcm := make([]int16, len(body)/2)
		for i := range pcm {
			pcm[i] = int16(binary.LittleEndian.Uint16(body[2*i:]))
		}
		return pcm, nil
	case 6:
		return ALaw.Decode(nil, body), nil
	case 7:
		return MuLaw.Decode(nil, body), nil
	}
	return nil, ErrWAV
}
