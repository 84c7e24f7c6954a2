package baresip

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
)

// loudspeaker is baresip's sound card: it takes what baresip plays at the speed of a real one and records it. ALSA's file plugin
// writes into our FIFO (asound.conf); how fast we read is how fast baresip plays.
//
// baresip has a recorder of its own (module sndfile), but 1.0 drops it at the first re-INVITE.
type loudspeaker struct {
	fifo *os.File
	stop chan struct{}
	done chan struct{} // closed when run has ended

	mu    sync.Mutex // guards what follows
	pcm   []int16    // the last keep samples
	count int        // samples since the last Forget
	quiet int        // samples without sound just now
	gap   int        // most samples without sound between two sounds since the last Forget
	err   error
}

const (
	frame = 20 * time.Millisecond
	keep  = 3 * tone.Rate
	// pipeBytes bounds what lies between baresip and us: a quarter of a second.
	pipeBytes = 4096
)

// newLoudspeaker makes the FIFO; there is nothing to hear until baresip opens it.
func newLoudspeaker(path string) (*loudspeaker, error) {
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		return nil, fmt.Errorf("baresip: %s: %w", path, err)
	}
	// For reading and writing, so that a call's end is no end of file.
	f, err := os.OpenFile(path, os.O_RDWR|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("baresip: %w", err)
	}
	const setPipeSize = 1031 // F_SETPIPE_SZ
	if err := fcntl(f, setPipeSize, pipeBytes); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	l := &loudspeaker{fifo: f, stop: make(chan struct{}), done: make(chan struct{})}
	go l.run()
	return l, nil
}

// fcntl performs a file control command with one argument.
func fcntl(f *os.File, command, value uintptr) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return fmt.Errorf("baresip: fifo: %w", err)
	}
	var errno syscall.Errno
	if err := raw.Control(func(fd uintptr) { _, _, errno = syscall.Syscall(syscall.SYS_FCNTL, fd, command, value) }); err != nil {
		return fmt.Errorf("baresip: fifo: %w", err)
	}
	if errno != 0 {
		return fmt.Errorf("baresip: fifo: %w", errno)
	}
	return nil
}

// run reads a frame every 20 ms; after a pause of ours it catches up, as a sound card's clock does.
func (l *loudspeaker) run() {
	defer close(l.done)
	tick := time.NewTicker(frame)
	defer tick.Stop()
	buf := make([]byte, 2*tone.FrameLen)
	start := time.Now()
	for frames := 0; ; {
		select {
		case <-l.stop:
			return
		case <-tick.C:
		}
		for due := int(time.Since(start) / frame); frames < due; frames++ {
			if err := l.take(buf); err != nil {
				l.mu.Lock()
				l.err = err
				l.mu.Unlock()
				return
			}
		}
	}
}

// take records one frame if there is one.
func (l *loudspeaker) take(buf []byte) error {
	if err := l.fifo.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
		return fmt.Errorf("baresip: fifo: %w", err)
	}
	n, err := io.ReadFull(l.fifo, buf)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("baresip: fifo: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := 0; i+1 < n; i += 2 {
		l.pcm = append(l.pcm, int16(binary.LittleEndian.Uint16(buf[i:])))
	}
	l.count += n / 2
	l.follow(l.pcm[len(l.pcm)-n/2:])
	if over := len(l.pcm) - keep; over > 0 {
		l.pcm = append(l.pcm[:0], l.pcm[over:]...)
	}
	return nil
}

// audible is the level from which a frame is sound, dBFS.
const audible = -45

// follow notes how long it was quiet. No samples at all are a quiet frame. Caller holds mu.
func (l *loudspeaker) follow(frame []int16) {
	if len(frame) == 0 || tone.Level(frame) < audible {
		l.quiet += tone.FrameLen
		return
	}
	l.gap, l.quiet = max(l.gap, l.quiet), 0
}

// Gap is the longest quiet between two sounds since the last Forget, samples.
func (l *loudspeaker) Gap() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.gap
}

// Hears analyses the last 300 ms that baresip played. Samples counts since the last Forget.
func (l *loudspeaker) Hears() (d tone.Detection, samples int, err error) {
	const block = tone.Rate * 3 / 10
	l.mu.Lock()
	defer l.mu.Unlock()
	return tone.Detect(l.pcm[max(0, len(l.pcm)-block):]), l.count, l.err
}

// Forget drops the recording, so that Hears tells of later audio only.
func (l *loudspeaker) Forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pcm, l.count, l.quiet, l.gap = nil, 0, 0, 0
}

// close is to be called when baresip has ended: it would be stuck in a write otherwise.
func (l *loudspeaker) close() error {
	close(l.stop)
	<-l.done
	if err := l.fifo.Close(); err != nil {
		return fmt.Errorf("baresip: fifo: %w", err)
	}
	return nil
}
