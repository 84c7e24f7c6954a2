package announce

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// file is a WAV of so many samples per channel.
func file(rate, channels, bits, kind, frames int, sample func(i, c int) int16) []byte {
	le := binary.LittleEndian
	head := append([]byte("LIST"), 4, 0, 0, 0, 'a', 'b', 'c', 'd') // a chunk that means nothing
	f := make([]byte, 16)
	le.PutUint16(f, uint16(kind))
	le.PutUint16(f[2:], uint16(channels))
	le.PutUint32(f[4:], uint32(rate))
	le.PutUint16(f[14:], uint16(bits))
	head = append(append(head, "fmt "...), 16, 0, 0, 0)
	head = append(head, f...)
	data := make([]byte, 0, frames*channels*2)
	for i := range frames {
		for c := range channels {
			data = le.AppendUint16(data, uint16(sample(i, c)))
		}
	}
	head = append(head, "data"...)
	head = le.AppendUint32(head, uint32(len(data)))
	body := append(append([]byte("WAVE"), head...), data...)
	return append(le.AppendUint32([]byte("RIFF"), uint32(len(body))), body...)
}

func level(v int16) func(int, int) int16 { return func(int, int) int16 { return v } }

func write(t *testing.T, dir, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func config(dir string) Config {
	return Config{Dir: dir, Longest: 2 * time.Second, MaxBytes: 1 << 20, MaxFiles: 8, Interval: 5 * time.Millisecond}
}

func TestFormats(t *testing.T) {
	for _, rate := range []int{8000, 16000, 48000} {
		for _, channels := range []int{1, 2} {
			w, err := parse(file(rate, channels, 16, formatPCM, rate, func(_, c int) int16 { return int16(1000 * (1 + c)) }), time.Second)
			if want := int16(1000 * (1 + channels) / 2); err != nil || w.rate != rate || len(w.pcm) != rate || w.pcm[77] != want {
				t.Errorf("%d Hz, %d channels: %d samples of %d Hz, %v", rate, channels, len(w.pcm), w.rate, err)
			}
		}
	}
	good := file(8000, 1, 16, formatPCM, 100, level(1))
	for name, c := range map[string]struct {
		b    []byte
		want string
	}{
		"empty":      {nil, "no RIFF"},
		"text":       {[]byte("hello, this is not sound"), "no RIFF"},
		"44.1 kHz":   {file(44100, 1, 16, formatPCM, 9, level(1)), "44100 Hz; 8000, 16000 and 48000"},
		"8 bits":     {file(8000, 1, 8, formatPCM, 9, level(1)), "8 bits per sample"},
		"A-law":      {file(8000, 1, 16, 6, 9, level(1)), "coding 0x6"},
		"surround":   {file(8000, 6, 16, formatPCM, 9, level(1)), "6 channels"},
		"too long":   {file(8000, 1, 16, formatPCM, 8001, level(1)), "at most 1s"},
		"no sound":   {file(8000, 1, 16, formatPCM, 0, level(1)), "no sound"},
		"cut":        {good[:len(good)-20], "are there"},
		"no data":    {good[:len(good)-208], "no data"},
		"no format":  {append(append([]byte{}, good[:12]...), good[48:]...), "before its format"},
		"fmt of 4 B": {append(append(append([]byte{}, good[:12]...), "fmt \x04\x00\x00\x00abcd"...), good[48:]...), "format of 4 bytes"},
	} {
		if _, err := parse(c.b, time.Second); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// TestRefused: a file that cannot be played is refused with its name and the reason; nothing outside the directory is ever read.
func TestRefused(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "secret.wav")
	if err := os.WriteFile(outside, file(8000, 1, 16, formatPCM, 100, level(1)), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		prepare func(dir string)
		want    string
	}{
		"missing": {func(dir string) { os.RemoveAll(dir) }, "no such file"},
		"bad":     {func(dir string) { write(t, dir, "x.wav", []byte("no")) }, "x.wav: announce: not a WAV"},
		"name":    {func(dir string) { write(t, dir, "a b.wav", file(8000, 1, 16, 1, 9, level(1))) }, "a name has"},
		"escape":  {func(dir string) { os.Symlink(outside, filepath.Join(dir, "x.wav")) }, "x.wav"},
		"memory":  {func(dir string) { write(t, dir, "x.wav", file(48000, 1, 16, 1, 96000, level(1))) }, "takes 96000 bytes of memory, 50000 of 50000 are left"},
		"too many": {func(dir string) {
			for _, n := range []string{"a", "b", "c"} {
				write(t, dir, n+".wav", file(8000, 1, 16, 1, 9, level(1)))
			}
		}, "3 files, at most 2"},
		"enormous":   {func(dir string) { write(t, dir, "x.wav", make([]byte, 2<<20)) }, "at most 2s can be played"},
		"no regular": {func(dir string) { os.Symlink(".", filepath.Join(dir, "x.wav")) }, "x.wav"},
	} {
		dir := t.TempDir()
		c.prepare(dir)
		cfg := config(dir)
		cfg.MaxBytes, cfg.MaxFiles = 50000, 2
		l, err := Open(cfg)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if err == nil {
			_ = l.Close()
		}
	}
}

// TestFilesComeAndGo: a new file is there without a restart, a changed one is played as it is now, a bad one leaves the former, and one
// that is gone is gone.
func TestFilesComeAndGo(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "busy.wav", file(8000, 1, 16, formatPCM, 800, level(100)))
	write(t, dir, "notes.txt", []byte("left alone"))
	write(t, dir, ".hidden.wav", []byte("left alone"))
	l, err := Open(config(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	until := func(what string, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("not within 10 s: %s", what)
			}
		}
	}
	names := func(want ...string) func() bool { return func() bool { return slices.Equal(l.Names(), want) } }
	if !names("busy")() || l.Get("nothing") != nil || l.Get("../busy") != nil {
		t.Fatalf("names %v", l.Names())
	}
	before := l.Get("busy")
	write(t, dir, "late.wav", file(16000, 2, 16, formatPCM, 1600, level(100)))
	until("a new file", names("busy", "late"))
	if l.Get("busy") != before {
		t.Error("an unchanged file was loaded again")
	}
	write(t, dir, "busy.wav", []byte("half a file"))
	until("a failure", func() bool { _, f := l.Counts(); return f > 0 })
	if l.Get("busy") != before {
		t.Error("a bad file has taken the place of a good one")
	}
	write(t, dir, "busy.wav", file(8000, 1, 16, formatPCM, 1600, level(200)))
	until("a changed file", func() bool { c := l.Get("busy"); return c != before && c.Bytes() == 2*(1600+3200) })
	if err := os.Remove(filepath.Join(dir, "late.wav")); err != nil {
		t.Fatal(err)
	}
	until("a file that is gone", names("busy"))
}

func TestNone(t *testing.T) {
	l, err := Open(Config{})
	if err != nil || len(l.Names()) != 0 || l.Get("x") != nil || l.Close() != nil {
		t.Error(err)
	}
}

func FuzzWAV(f *testing.F) {
	f.Add(file(8000, 1, 16, formatPCM, 10, level(5)))
	f.Add(file(48000, 2, 16, formatExtensible, 3, level(-5)))
	f.Fuzz(func(t *testing.T, b []byte) {
		w, err := parse(b, time.Second)
		if err == nil && (len(w.pcm) == 0 || len(w.pcm) > w.rate || len(w.pcm) > len(b)) {
			t.Errorf("%d samples of %d Hz out of %d bytes", len(w.pcm), w.rate, len(b))
		}
	})
}
