package udpio

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"
)

// cut feeds stream in pieces of the given sizes, the last one again and again, and returns the packets.
func cut(t *testing.T, stream []byte, longest, room int, pieces ...int) (out [][]byte, err error) {
	t.Helper()
	f := frames{buf: make([]byte, room)}
	for i := 0; len(stream) > 0; i++ {
		space := f.space()
		if len(space) == 0 {
			t.Fatal("no space left and nothing whole")
		}
		n := min(max(1, pieces[min(i, len(pieces)-1)]), len(space), len(stream))
		f.filled(copy(space, stream[:n]))
		stream = stream[n:]
		for {
			p, err := f.next(longest)
			if err != nil {
				return out, err
			}
			if p == nil {
				break
			}
			out = append(out, bytes.Clone(p))
		}
	}
	return out, nil
}

func framed(packets ...[]byte) (b []byte) {
	for _, p := range packets {
		b = binary.BigEndian.AppendUint16(b, uint16(len(p)))
		b = append(b, p...)
	}
	return b
}

func TestRFC4571_2_FramesWhateverThePieces(t *testing.T) {
	packets := [][]byte{[]byte("a"), {}, bytes.Repeat([]byte("b"), 300), {}, []byte("cc"), bytes.Repeat([]byte("d"), 1500)}
	for _, piece := range []int{1, 2, 3, 100, 4000} {
		got, err := cut(t, framed(packets...), 1500, 1600, piece)
		if err != nil || len(got) != 4 {
			t.Fatalf("pieces of %d: %d packets, %v", piece, len(got), err)
		}
		for i, n := range []int{1, 300, 2, 1500} {
			if len(got[i]) != n {
				t.Errorf("pieces of %d: packet %d has %d bytes, want %d", piece, i, len(got[i]), n)
			}
		}
	}
	if _, err := cut(t, framed(make([]byte, 1501)), 1500, 1600, 1); !errors.Is(err, ErrFrame) {
		t.Errorf("a frame too long: %v", err)
	}
}

func FuzzFrames(f *testing.F) {
	f.Add(framed([]byte("hello"), nil, make([]byte, 100)), uint8(3))
	f.Add([]byte{0xff, 0xff, 1}, uint8(1))
	f.Fuzz(func(t *testing.T, stream []byte, piece uint8) {
		const longest = 200
		whole, err1 := cut(t, stream, longest, 4*longest, 1<<16)
		parts, err2 := cut(t, stream, longest, longest+FrameHeader, int(piece))
		if (err1 == nil) != (err2 == nil) || len(whole) != len(parts) {
			t.Fatalf("%d packets and %v in one piece, %d and %v in pieces of %d", len(whole), err1, len(parts), err2, piece)
		}
		for i := range whole {
			if !bytes.Equal(whole[i], parts[i]) || len(whole[i]) == 0 || len(whole[i]) > longest {
				t.Fatalf("packet %d differs", i)
			}
		}
	})
}

// stingy takes at most the next of its amounts.
type stingy struct {
	amounts []int
	got     []byte
}

func (s *stingy) write(b []byte) (int, bool) {
	n := 0
	if len(s.amounts) > 0 {
		n = min(s.amounts[0], len(b))
		s.amounts = s.amounts[1:]
	}
	s.got = append(s.got, b[:n]...)
	return n, true
}

// TestFrameTakenInPartIsFinishedFirst: whatever a full connection takes, what the peer gets is whole packets, those that were not dropped.
func TestFrameTakenInPartIsFinishedFirst(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		w, o := &stingy{}, &outbox{}
		for range 1000 {
			w.amounts = append(w.amounts, []int{0, 0, 1, 3, 50, 200, 5000}[r.IntN(7)])
		}
		var want [][]byte
		for i := range 300 {
			p := bytes.Repeat([]byte{byte(i)}, 1+r.IntN(300))
			if o.send(p, w) {
				want = append(want, p)
			}
		}
		w.amounts = []int{1 << 20, 1 << 20}
		if o.send([]byte("last"), w) {
			want = append(want, []byte("last"))
		}
		got, err := cut(t, w.got, 1000, 4000, 4000)
		if err != nil || len(got) != len(want) || len(got) < 20 {
			t.Fatalf("%d packets, want %d: %v", len(got), len(want), err)
		}
		for i := range got {
			if !bytes.Equal(got[i], want[i]) {
				t.Fatalf("packet %d of %d differs", i, len(got))
			}
		}
	}
	if o := (&outbox{}); o.send(make([]byte, maxFrame+1), &stingy{amounts: []int{9999}}) {
		t.Error("a packet too long for a frame is sent")
	}
}
