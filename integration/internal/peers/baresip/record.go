package baresip

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
)

// Hears analyses the last 300 ms of the newest recording of decoded audio. The recording grows while the call is up; zero when
// there is none yet. Samples is the recording's length so far.
func (a *Agent) Hears() (d tone.Detection, samples int, err error) {
	path, err := newest(filepath.Join(a.cfg.Dir, "dump-*-dec.wav"))
	if err != nil || path == "" {
		return tone.Detection{}, 0, err
	}
	pcm, err := readGrowing(path)
	if err != nil {
		return tone.Detection{}, 0, err
	}
	const block = tone.Rate * 3 / 10
	return tone.Detect(pcm[max(0, len(pcm)-block):]), len(pcm), nil
}

// Forget removes the recordings so far, so that Hears tells of later calls only.
func (a *Agent) Forget() error {
	names, err := filepath.Glob(filepath.Join(a.cfg.Dir, "dump-*.wav"))
	if err != nil {
		return fmt.Errorf("baresip: %w", err)
	}
	for _, name := range names {
		if err := os.Remove(name); err != nil {
			return fmt.Errorf("baresip: %w", err)
		}
	}
	return nil
}

func newest(pattern string) (string, error) {
	names, err := filepath.Glob(pattern)
	if err != nil {
		return "", fmt.Errorf("baresip: %w", err)
	}
	var path string
	var at time.Time
	for _, name := range names {
		if info, err := os.Stat(name); err == nil && info.ModTime().After(at) {
			path, at = name, info.ModTime()
		}
	}
	return path, nil
}

var errRecording = errors.New("baresip: recording is not 16-bit mono at 8000 Hz")

// readGrowing reads a WAV file whose sizes are not filled in yet, as its writer does only when it ends.
func readGrowing(path string) ([]int16, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("baresip: %w", err)
	}
	if len(data) < 44 {
		return nil, nil // the header is being written
	}
	if string(data[:4]) != "RIFF" || string(data[36:40]) != "data" || binary.LittleEndian.Uint16(data[22:]) != 1 ||
		binary.LittleEndian.Uint32(data[24:]) != tone.Rate || binary.LittleEndian.Uint16(data[34:]) != 16 {
		return nil, errRecording
	}
	pcm := make([]int16, (len(data)-44)/2)
	for i := range pcm {
		pcm[i] = int16(binary.LittleEndian.Uint16(data[44+2*i:]))
	}
	return pcm, nil
}

// transcript keeps all that baresip printed: its log and, by -s, each SIP message.
type transcript struct {
	mu   sync.Mutex // guards buf
	buf  []byte
	next io.Writer // may be nil
}

// Write implements io.Writer.
func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if t.next != nil {
		return t.next.Write(p)
	}
	return len(p), nil
}

func (t *transcript) tail(n int) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf[max(0, len(t.buf)-n):])
}

// Transcript is all that baresip printed so far: its log and every SIP message.
func (a *Agent) Transcript() string { return a.out.tail(1 << 30) }
