package baresip

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
)

// fakeControl accepts one connection and gives it to serve.
func fakeControl(t *testing.T, serve func(net.Conn, *bufio.Reader) error) *control {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err == nil {
			err = serve(conn, bufio.NewReader(conn))
			conn.Close()
		}
		served <- err
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c, err := connect(ctx, l.Addr().String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.close(); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
		l.Close()
	})
	return c
}

func TestCommandsGetTheirRepliesAmongEvents(t *testing.T) {
	c := fakeControl(t, func(conn net.Conn, r *bufio.Reader) error {
		b, err := readNetstring(r)
		if err != nil || string(b) != `{"command":"dial","params":"sip:a@h","token":"1"}` {
			return fmt.Errorf("got %s, %v", b, err)
		}
		for _, m := range []string{`{"event":true,"type":"CALL_RINGING","id":"x"}`, `{"response":true,"ok":true,"data":"ok","token":"1"}`, `{"event":true,"type":"CALL_CLOSED","id":"x","param":"486"}`} {
			if _, err := fmt.Fprintf(conn, "%d:%s,", len(m), m); err != nil {
				return err
			}
		}
		return nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if text, err := c.Command(ctx, "dial", "sip:a@h"); err != nil || text != "ok" {
		t.Errorf("reply %q, %v", text, err)
	}
	e, err := c.Await(ctx, 0, func(e Event) bool { return e.Type == "CALL_CLOSED" })
	if err != nil || e.Param != "486" || c.Mark() != 2 {
		t.Errorf("event %+v, %v; mark %d", e, err, c.Mark())
	}
	if _, err := c.Await(ctx, 2, func(Event) bool { return true }); err == nil || !strings.Contains(err.Error(), "ended") {
		t.Errorf("after the end of the connection: %v", err)
	}
}

func TestGarbageEndsTheControlConnection(t *testing.T) {
	for _, garbage := range []string{"hello:", "-1:,", "3:abc,", "99999999:x"} {
		c := fakeControl(t, func(conn net.Conn, _ *bufio.Reader) error {
			_, err := conn.Write([]byte(garbage))
			return err
		})
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		if _, err := c.Await(ctx, 0, func(Event) bool { return true }); err == nil || ctx.Err() != nil {
			t.Errorf("%q: %v", garbage, err)
		}
		cancel()
	}
}

// The loudspeaker takes audio at the speed of a sound card and tells a tone from silence.
func TestLoudspeakerPacesAndHears(t *testing.T) {
	path := filepath.Join(t.TempDir(), "loudspeaker")
	l, err := newLoudspeaker(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.close(); err != nil {
			t.Error(err)
		}
	})
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	play := func(src tone.Source) (tone.Detection, time.Duration) {
		l.Forget()
		pcm := make([]int16, tone.Rate)
		src.Fill(pcm)
		start := time.Now()
		if err := binary.Write(f, binary.LittleEndian, pcm); err != nil {
			t.Fatal(err)
		}
		took := time.Since(start)
		d, _, err := l.Hears()
		if err != nil {
			t.Fatal(err)
		}
		return d, took
	}
	// A second is written; the pipe holds a quarter of it. A slow machine only takes longer.
	if d, took := play(tone.NewSine(620, -12)); !d.IsTone(620, 2) || took < 600*time.Millisecond {
		t.Errorf("heard %+v; a second of audio was taken in %v", d, took)
	}
	if d, _ := play(tone.Silence{}); d.Total > -60 {
		t.Errorf("heard %+v of silence", d)
	}
}
