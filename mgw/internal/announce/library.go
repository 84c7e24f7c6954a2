// Package announce keeps the announcements of a directory in memory: WAV files, taken up again when they change. Floor 2.
// Owner: a Library is safe for concurrent use; its goroutine (of filewatch) ends with Close. H.248.7.
package announce

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgw/internal/signals"
	"github.com/isthmus-gateway/isthmus/pkg/filewatch"
)

// Config says where announcements are and how much they may take.
type Config struct {
	Dir      string        // "" : there are none
	Longest  time.Duration // duration of one
	MaxBytes int64         // memory of all
	MaxFiles int
	Interval time.Duration // between two looks at the directory; 0: that of filewatch
	Logger   *zap.Logger   // nil: none
}

// suffix of the files that are announcements; others are left alone.
const suffix = ".wav"

// maxName bounds the name of an announcement, bytes.
const maxName = 64

// Library is the announcements there are, by name: that of the file without ".wav". Use Open; Close it.
type Library struct {
	cfg   Config
	root  *os.Root
	watch *filewatch.Watcher

	mu    sync.RWMutex // guards clips
	clips map[string]entry
}

// entry is an announcement with what its file looked like.
type entry struct {
	clip     *signals.Clip
	size     int64
	modified time.Time
}

// Open loads the directory. Errors name the file: unreadable, not a WAV that can be played, too long, too much in all.
func Open(cfg Config) (*Library, error) {
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	l := &Library{cfg: cfg, clips: map[string]entry{}}
	if cfg.Dir == "" {
		return l, nil
	}
	var err error
	if l.root, err = os.OpenRoot(cfg.Dir); err != nil {
		return nil, fmt.Errorf("announce: %w", err)
	}
	l.watch, err = filewatch.WatchListed("announcements", l.files, cfg.Interval, cfg.Logger, func() (time.Time, error) { return time.Time{}, l.load() })
	if err != nil {
		_ = l.root.Close()
		return nil, err
	}
	return l, nil
}

// Close stops looking at the directory; announcements that are being played go on.
func (l *Library) Close() error {
	if l.watch == nil {
		return nil
	}
	return errors.Join(l.watch.Close(), l.root.Close())
}

// Get is an announcement; nil when there is none of that name.
func (l *Library) Get(name string) *signals.Clip {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.clips[name].clip
}

// Names of all, sorted.
func (l *Library) Names() []string {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return slices.Sorted(maps.Keys(l.clips))
}

// Counts returns how often changed files were taken up and how often that failed.
func (l *Library) Counts() (reloads, failures uint64) {
	if l.watch == nil {
		return 0, 0
	}
	return l.watch.Counts()
}

// files lists the announcements as paths, for filewatch.
func (l *Library) files() ([]string, error) {
	names, err := l.list()
	for i, n := range names {
		names[i] = filepath.Join(l.cfg.Dir, n)
	}
	return names, err
}

// list is the files of the directory that are announcements, sorted.
func (l *Library) list() ([]string, error) {
	dir, err := l.root.Open(".")
	if err != nil {
		return nil, fmt.Errorf("announce: %w", err)
	}
	defer func() { _ = dir.Close() }()
	all, err := dir.ReadDir(-1)
	if err != nil {
		return nil, fmt.Errorf("announce: %w", err)
	}
	var names []string
	for _, e := range all {
		if n := e.Name(); strings.HasSuffix(n, suffix) && !strings.HasPrefix(n, ".") && !e.IsDir() {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	if len(names) > l.cfg.MaxFiles {
		return nil, fmt.Errorf("announce: %s has %d files, at most %d", l.cfg.Dir, len(names), l.cfg.MaxFiles)
	}
	return names, nil
}

// load takes up the files that are new or have changed. What is bad leaves its former version in place, and the others are taken.
func (l *Library) load() error {
	names, err := l.list()
	if err != nil {
		return err
	}
	l.mu.RLock()
	old := maps.Clone(l.clips)
	l.mu.RUnlock()
	next := map[string]entry{}
	var errs []error
	left := l.cfg.MaxBytes
	for _, file := range names {
		name := strings.TrimSuffix(file, suffix)
		e, err := l.read(file, name, old[name], left)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", filepath.Join(l.cfg.Dir, file), err))
			e = old[name]
		}
		if e.clip != nil {
			next[name] = e
			left -= int64(e.clip.Bytes())
		}
	}
	l.mu.Lock()
	l.clips = next
	l.mu.Unlock()
	return errors.Join(errs...)
}

// read is one file; known is what there is of it already.
func (l *Library) read(file, name string, known entry, left int64) (entry, error) {
	if name == "" || len(name) > maxName || strings.IndexFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r))
	}) >= 0 {
		return entry{}, fmt.Errorf("a name has 1 to %d letters, digits, '.', '_' and '-'", maxName)
	}
	f, err := l.root.Open(file) // a link that leads out of the directory is refused
	if err != nil {
		return entry{}, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	switch {
	case err != nil:
		return entry{}, err
	case !info.Mode().IsRegular():
		return entry{}, errors.New("no regular file")
	case known.clip != nil && info.Size() == known.size && info.ModTime().Equal(known.modified):
		return known, nil
	}
	// 48 kHz in stereo, with room for other chunks: more cannot be of an allowed length.
	most := int64(l.cfg.Longest/time.Millisecond)*48*4 + 1<<20
	if info.Size() > most {
		return entry{}, fmt.Errorf("%d bytes, at most %v can be played", info.Size(), l.cfg.Longest)
	}
	b, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return entry{}, err
	}
	w, err := parse(b, l.cfg.Longest)
	if err != nil {
		return entry{}, err
	}
	clip := signals.Make(w.pcm, w.rate)
	if int64(clip.Bytes()) > left {
		return entry{}, fmt.Errorf("takes %d bytes of memory, %d of %d are left", clip.Bytes(), max(left, 0), l.cfg.MaxBytes)
	}
	return entry{clip: clip, size: info.Size(), modified: info.ModTime()}, nil
}
